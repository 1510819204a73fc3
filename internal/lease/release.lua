-- Gives a lease back, if it is still one's own.
--
-- KEYS[1]  the lease
-- ARGV[1]  id of who gives it back
--
-- Returns 1 when it was given back, 0 when it was not the asker's any more.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
