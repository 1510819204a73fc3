-- Empties a shard that is not intact, or is not what Postgres has.
--
-- KEYS: 1 pending, 2 frozen.
-- ARGV: 1 to 4 the stamps that were found (pending's and frozen's @base and
--       @head; empty for a missing one), 5 the stamp that Postgres has.
-- Returns 1: emptied. 0: the stamps are others by now; nothing was changed.
local found = redis.call('HMGET', KEYS[1], '@base', '@head')
local frozen = redis.call('HMGET', KEYS[2], '@base', '@head')
if (found[1] or '') ~= ARGV[1] or (found[2] or '') ~= ARGV[2]
  or (frozen[1] or '') ~= ARGV[3] or (frozen[2] or '') ~= ARGV[4] then
  return 0
end
redis.call('UNLINK', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[1], '@base', ARGV[5], '@head', ARGV[5])
redis.call('HSET', KEYS[2], '@base', ARGV[5], '@head', ARGV[5])
return 1
