-- Cursors that take over from each other.
--
-- Lock: casq.cursors, for a moment. Deploy: at any time.

-- beat moves on while the holder is alive, whether or not there are events. Who
-- has seen the same beat for a lease's time of his own clock may take over, also
-- without Redis.
ALTER TABLE casq.cursors ADD COLUMN beat bigint NOT NULL DEFAULT 0;

---- create above / drop below ----

ALTER TABLE casq.cursors DROP COLUMN beat;
