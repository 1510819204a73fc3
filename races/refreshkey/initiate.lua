-- Begins a recount: what was buffered is void, and increments are diverted.
--
-- KEYS: 1 counter, 2 indicator.
-- ARGV: 1 how long the indicator is kept, in seconds.
-- Returns nothing.
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[2], 1, 'EX', ARGV[1])
