-- Notes that objects are being written.
--
-- KEYS: the hash of their tag.
-- ARGV: the write's id; its timeline; its transaction id; then the objects' hashes.
-- Returns 1.
--
-- An object's marks are one field: "id timeline xid milliseconds;" for each.
local now = redis.call('TIME')
local mark = table.concat({ARGV[1], ARGV[2], ARGV[3], now[1] * 1000 + math.floor(now[2] / 1000)}, ' ') .. ';'
for i = 4, #ARGV do
    local field = 'm' .. ARGV[i]
    redis.call('HSET', KEYS[1], field, (redis.call('HGET', KEYS[1], field) or '') .. mark)
end
return 1
