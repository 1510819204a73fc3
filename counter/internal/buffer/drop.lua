-- Drops what is frozen, once it has been flushed.
--
-- KEYS: 1 frozen.
-- ARGV: 1 and 2 the stamps that the flushed part begins and ends at.
-- Returns 1: dropped. 0: something else is frozen, or nothing.
local is = redis.call('HMGET', KEYS[1], '@base', '@head')
if is[1] ~= ARGV[1] or is[2] ~= ARGV[2] then
  return 0
end
redis.call('UNLINK', KEYS[1])
redis.call('HSET', KEYS[1], '@base', ARGV[2], '@head', ARGV[2])
return 1
