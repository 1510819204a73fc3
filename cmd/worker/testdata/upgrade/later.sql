-- What a release may do whose workers run beside those of the one before: it adds.
--
-- Lock: ACCESS EXCLUSIVE on casq.registry and casq.kinds, for moments. Deploy: before
-- the program.
ALTER TABLE casq.registry ADD COLUMN later text;
ALTER TABLE casq.kinds ADD COLUMN later text NOT NULL DEFAULT 'x';
CREATE INDEX registry_later ON casq.registry (later) WHERE later IS NOT NULL;

---- create above / drop below ----

ALTER TABLE casq.kinds DROP COLUMN later;
ALTER TABLE casq.registry DROP COLUMN later;
