-- Drops positions that the floor has reached. They mean nothing any more: this
-- is for the memory only, and so it may be done in parts.
--
-- KEYS: a tag's hash.
-- ARGV: where the last part ended, '0' at first; how many fields to read, roughly.
-- Returns where this part has ended; '0' is the end.
local floor = redis.call('HGET', KEYS[1], 'floor')
if not floor then
    return '0'
end
local part = redis.call('HSCAN', KEYS[1], ARGV[1], 'MATCH', 'p*', 'COUNT', ARGV[2])
for i = 1, #part[2], 2 do
    if part[2][i + 1] <= floor then
        redis.call('HDEL', KEYS[1], part[2][i])
    end
end
return part[1]
