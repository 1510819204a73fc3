-- Returns what is known of objects.
--
-- KEYS: the hashes of their tags.
-- ARGV: for each key how many objects follow; then the objects' hashes, in the order
--       of the keys.
-- Returns for each key: 1 if its floor is of this server's memory, else 0; the floor,
-- or ''; for each object its position, or ''; for each object its marks, or ''. At the
-- end: the time in milliseconds, by this server's clock, that the marks are compared with.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local answer, next_object = {}, #KEYS + 1
for i, key in ipairs(KEYS) do
    local n = tonumber(ARGV[i])
    local fields = {'identity', 'floor'}
    for j = 0, n - 1 do
        fields[#fields + 1] = 'p' .. ARGV[next_object + j]
    end
    for j = 0, n - 1 do
        fields[#fields + 1] = 'm' .. ARGV[next_object + j]
    end
    next_object = next_object + n
    local values = redis.call('HMGET', key, unpack(fields))
    answer[#answer + 1] = (values[1] == run and values[2]) and 1 or 0
    for j = 2, #values do
        answer[#answer + 1] = values[j] or ''
    end
end
local now = redis.call('TIME')
answer[#answer + 1] = now[1] * 1000 + math.floor(now[2] / 1000)
return answer
