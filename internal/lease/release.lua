-- Releases a lease, if it is still the caller's.
--
-- KEYS[1]  the lease
-- ARGV[1]  id of the caller
--
-- Returns 1 when it was released, 0 when it was not the caller's any more.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
