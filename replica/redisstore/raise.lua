-- Lifts the floor of a tag, forward only.
--
-- KEYS: the tag's hash.
-- ARGV: the floor; the claim of read.lua if it is the primary's present position, asked
--       for after the claim was read; else ''.
-- Returns 1 when the floor is of this server's memory afterwards, else 0: only a claim
-- that is still there makes it so. One that is not was lost, and with it perhaps what
-- was written after the position was asked for.
local me = identity()
local known = redis.call('HMGET', KEYS[1], 'identity', 'claim', 'floor')
if not (known[3] and known[3] >= ARGV[1]) then
    redis.call('HSET', KEYS[1], 'floor', ARGV[1])
end
if known[1] == me and known[3] then
    return 1
end
if known[2] == ARGV[2] and string.sub(ARGV[2], 1, #me) == me then
    redis.call('HSET', KEYS[1], 'identity', me)
    redis.call('HDEL', KEYS[1], 'claim')
    return 1
end
return 0
