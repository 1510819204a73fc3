-- Freezes what is pending, unless something is frozen already.
--
-- KEYS: 1 pending, 2 frozen.
-- Returns two values: 1 if something was frozen already, else 0; and all fields
-- of frozen afterwards, with @base and @head. @base = @head says that there was
-- nothing to freeze. An empty reply: the shard is not intact.
local is = redis.call('HMGET', KEYS[1], '@base', '@head')
local frozen = redis.call('HMGET', KEYS[2], '@base', '@head')
if not is[1] or not is[2] or not frozen[1] or frozen[2] ~= is[1] then
  return {}
end
local already = 1
if frozen[1] == frozen[2] then
  already = 0
  if is[1] ~= is[2] then
    redis.call('RENAME', KEYS[1], KEYS[2])
    redis.call('HSET', KEYS[1], '@base', is[2], '@head', is[2])
  end
end
return { already, redis.call('HGETALL', KEYS[2]) }
