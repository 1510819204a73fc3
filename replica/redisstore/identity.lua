-- Begins the scripts that ask whose memory this is.
--
-- Returns run_id and master_replid of the server that runs the script. The first is
-- another one after each start, whatever dump was read; the second after each
-- promotion, also of a process that was the master before: it may lack what its
-- successor was told meanwhile. Two sections at once are Redis 7's.
local function identity()
    local info = redis.call('INFO', 'server', 'replication')
    return string.match(info, 'run_id:(%x+)') .. ' ' .. string.match(info, 'master_replid:(%x+)')
end
