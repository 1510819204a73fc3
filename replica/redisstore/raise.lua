-- Lifts the floor of a tag, forward only.
--
-- KEYS: the tag's hash.
-- ARGV: the floor; '1' if it is the primary's present position, else '0'.
-- Returns 1 when the floor is of this server's memory afterwards, else 0: only a
-- present position makes it so.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local known = redis.call('HMGET', KEYS[1], 'identity', 'floor')
local ready = known[1] == run and known[2]
if not ready and ARGV[2] ~= '1' then
    return 0
end
if not (known[2] and known[2] >= ARGV[1]) then
    redis.call('HSET', KEYS[1], 'floor', ARGV[1])
end
if not ready then
    redis.call('HSET', KEYS[1], 'identity', run)
end
return 1
