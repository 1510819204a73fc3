-- Moves what is buffered to what is being flushed.
--
-- KEYS: 1 counter, 2 flushed key.
-- Returns what there is to flush, what an earlier flush has left included.
local amount = redis.call('INCRBY', KEYS[2], redis.call('GET', KEYS[1]) or 0)
redis.call('DEL', KEYS[1])
if amount == 0 then
  redis.call('DEL', KEYS[2])
end
return amount
