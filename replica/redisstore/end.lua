-- Merges the position of a write, forward only, and removes its own marks.
--
-- KEYS: the hash of the objects' tag.
-- ARGV: the write's id, '' is one without marks; its position, '' is one that was
--       rolled back; then the objects' hashes.
-- Returns 1.
--
-- Positions are digits of one length, so that their order as text is theirs.
local id, at = ARGV[1], ARGV[2]
local floor = redis.call('HGET', KEYS[1], 'floor')
for i = 3, #ARGV do
    local position, marks = 'p' .. ARGV[i], 'm' .. ARGV[i]
    if at ~= '' and not (floor and floor >= at) then
        local old = redis.call('HGET', KEYS[1], position)
        if not (old and old >= at) then
            redis.call('HSET', KEYS[1], position, at)
        end
    end
    local set = id ~= '' and redis.call('HGET', KEYS[1], marks)
    if set then
        local left = string.gsub(set, '([^;]*);', function(mark)
            if string.sub(mark, 1, #id + 1) == id .. ' ' then
                return ''
            end
        end)
        if left == '' then
            redis.call('HDEL', KEYS[1], marks)
        elseif left ~= set then
            redis.call('HSET', KEYS[1], marks, left)
        end
    end
end
return 1
