-- Who applied how many events, in the order in which they had the log.
SELECT worker, epoch, count(*) FROM workers.recorded GROUP BY epoch, worker ORDER BY epoch, worker
