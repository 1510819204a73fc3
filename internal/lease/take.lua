-- Takes a lease that no process has, extends the caller's, or names the holder.
--
-- KEYS[1]  the lease
-- ARGV[1]  id of the caller
-- ARGV[2]  length of the lease in ms
--
-- Returns
--   {1, id, length}         it was free; it is the caller's now
--   {2, id, length}         it was the caller's, and is extended
--   {0, holder, remaining}  it is another's, for so many ms
--
-- One script, because between two commands the lease may end. PTTL, because TTL
-- is rounded: it says 0 in the last half second of a lease that is held.
local holder = redis.call('GET', KEYS[1])
if not holder or holder == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return {holder and 2 or 1, ARGV[1], tonumber(ARGV[2])}
end
local remaining = redis.call('PTTL', KEYS[1])
if remaining == -1 then
  -- No script of ours writes a key that never ends: an operator did (PERSIST).
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  remaining = tonumber(ARGV[2])
end
return {0, holder, remaining}
