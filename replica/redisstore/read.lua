-- Returns what is known of objects.
--
-- KEYS: the hashes of their tags.
-- ARGV: a nonce; for each key how many objects follow; then the objects' hashes, in
--       the order of the keys.
-- Returns for each key: '' if its floor is of this server's memory, else the claim to
-- hand to raise.lua; the floor, or ''; for each object its position, or ''; for each
-- object its marks, or ''. At the end: the time in milliseconds, by this server's
-- clock, that the marks are compared with.
--
-- A claim stays where it is for as long as nothing is lost: what was written before it
-- is below a position that is asked for after this answer, and what is written after it
-- is in the hash.
local me = identity()
local answer, next_object = {}, #KEYS + 2
for i, key in ipairs(KEYS) do
    local n = tonumber(ARGV[i + 1])
    local fields = {'identity', 'claim', 'floor'}
    for j = 0, n - 1 do
        fields[#fields + 1] = 'p' .. ARGV[next_object + j]
    end
    for j = 0, n - 1 do
        fields[#fields + 1] = 'm' .. ARGV[next_object + j]
    end
    next_object = next_object + n
    local values = redis.call('HMGET', key, unpack(fields))
    local claim = ''
    if values[1] ~= me or not values[3] then
        claim = values[2] or ''
        if string.sub(claim, 1, #me) ~= me then
            claim = me .. ' ' .. ARGV[1]
            redis.call('HSET', key, 'claim', claim)
        end
    end
    answer[#answer + 1] = claim
    for j = 3, #values do
        answer[#answer + 1] = values[j] or ''
    end
end
local now = redis.call('TIME')
answer[#answer + 1] = now[1] * 1000 + math.floor(now[2] / 1000)
return answer
