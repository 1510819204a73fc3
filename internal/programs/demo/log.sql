-- What the log of the primary site has come to.
SELECT (SELECT count(*) FROM casq.events), (SELECT count(*) FROM casq.ticks)
