-- Returns what is known of objects: their maximum, and what is out of the ordinary.
-- As a rule that is three values, however many objects are asked about.
--
-- KEYS: the hashes of their tags.
-- ARGV: a nonce; for each key how many objects follow; then the objects' hashes, in
--       the order of the keys.
-- Returns the largest of the floors and positions, or ''; 1 if that is a floor, else 0;
-- the time in milliseconds, by this server's clock, if there are marks, else 0. Then
-- three values for each key whose floor is not of this server's memory: 'claim', its
-- number, and the claim to hand to raise.lua; and for each object that is being
-- written: 'marks', its number, and its marks. Numbers begin with 0.
--
-- A claim stays where it is for as long as nothing is lost: what was written before it
-- is below a position that is asked for after this answer, and what is written after it
-- is in the hash.
local me = identity()
local answer, first = {'', 0, 0}, #KEYS + 2
local function raise(position, floor)
    if not position then
        return true
    end
    if position > answer[1] then
        answer[1], answer[2] = position, floor
    end
    return string.match(position, '^%d+$') and #position == 39
end
local function add(what, number, text)
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = what, number, text
end
local asked = first
for i, key in ipairs(KEYS) do
    local n = tonumber(ARGV[i + 1])
    local fields = {'identity', 'claim', 'floor'}
    for j = 0, n - 1 do
        fields[2 * j + 4] = 'p' .. ARGV[asked + j]
        fields[2 * j + 5] = 'm' .. ARGV[asked + j]
    end
    local values = redis.call('HMGET', key, unpack(fields))
    if values[1] ~= me or not values[3] then
        local claim = values[2] or ''
        if string.sub(claim, 1, #me) ~= me then
            claim = me .. ' ' .. ARGV[1]
            redis.call('HSET', key, 'claim', claim)
        end
        add('claim', i - 1, claim)
    end
    local sound = raise(values[3], 1)
    for j = 0, n - 1 do
        sound = raise(values[2 * j + 4], 0) and sound
        if values[2 * j + 5] then
            add('marks', asked + j - first, values[2 * j + 5])
        end
    end
    if not sound then
        return redis.error_reply('ERR ' .. key .. ' has what is no position')
    end
    asked = asked + n
end
for i = 4, #answer, 3 do
    if answer[i] == 'marks' then
        local now = redis.call('TIME')
        answer[3] = now[1] * 1000 + math.floor(now[2] / 1000)
        break
    end
end
return answer
