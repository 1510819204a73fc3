-- Begins the scripts that ask whose memory this is.
--
-- Returns run_id and master_replid of the server that runs the script. The first is
-- another one after each start, whatever dump was read; the second after each
-- promotion, also of a process that was the master before: it may lack what its
-- successor was told meanwhile.
local function identity()
    return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') .. ' '
        .. string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
end
