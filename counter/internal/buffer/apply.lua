-- Adds the deltas of a batch to what is pending in a shard.
--
-- KEYS: 1 pending, 2 frozen.
-- ARGV: 1 the stamp that the batch begins at, 2 the one that it ends at, then
--       pairs of a field and a number to add.
-- Returns 1: added. 0: the shard is not at that stamp, or is not intact; nothing
-- was changed.
local is = redis.call('HMGET', KEYS[1], '@base', '@head')
local frozen = redis.call('HGET', KEYS[2], '@head')
if not is[1] or is[2] ~= ARGV[1] or frozen ~= is[1] then
  return 0
end
for i = 3, #ARGV, 2 do
  redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('HSET', KEYS[1], '@head', ARGV[2])
return 1
