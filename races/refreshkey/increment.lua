-- Adds to a counter; while it is recounted, to the refresh key, each increment
-- and each decrement of an artifact once.
--
-- KEYS: 1 counter, 2 refresh key, 3 indicator, 4 the bits of this sign, 5 the
--       bits of the other sign, 6 the set of keys that have bits.
-- ARGV: 1 what to add, 2 the artifact's bit, 3 how long bits are kept, in
--       seconds.
-- Returns the value of the key that took it.
local amount = tonumber(ARGV[1])
if redis.call('EXISTS', KEYS[3]) == 0 then
  return redis.call('INCRBY', KEYS[1], amount)
end
if redis.call('SETBIT', KEYS[4], ARGV[2], 1) == 1 then
  return tonumber(redis.call('GET', KEYS[2]) or 0)
end
redis.call('EXPIRE', KEYS[4], ARGV[3])
redis.call('SADD', KEYS[6], KEYS[4])
redis.call('EXPIRE', KEYS[6], ARGV[3])
-- An increment is void after its decrement, a decrement before its increment.
local opposite = redis.call('GETBIT', KEYS[5], ARGV[2]) == 1
if (amount > 0) == opposite then
  amount = 0
end
return redis.call('INCRBY', KEYS[2], amount)
