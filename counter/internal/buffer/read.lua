-- Reads a shard's stamps, and fields of it, at one moment.
--
-- KEYS: 1 pending, 2 frozen.
-- ARGV: the fields.
-- Returns two lists: @base, @head and the fields, of pending and of frozen.
return {
  redis.call('HMGET', KEYS[1], '@base', '@head', unpack(ARGV)),
  redis.call('HMGET', KEYS[2], '@base', '@head', unpack(ARGV)),
}
