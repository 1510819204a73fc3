-- Ends a recount: what it came to becomes what is buffered.
--
-- KEYS: 1 counter, 2 refresh key, 3 indicator.
-- Returns the counter's value.
local value = redis.call('INCRBY', KEYS[1], redis.call('GET', KEYS[2]) or 0)
redis.call('DEL', KEYS[2], KEYS[3])
return value
