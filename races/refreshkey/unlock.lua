-- Gives a lock back.
--
-- KEYS: 1 lock.
-- ARGV: 1 its holder.
-- Returns 1: given back. 0: it has expired.
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
