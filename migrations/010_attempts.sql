-- Why a thing is not there yet: what the source does not have.
--
-- Lock: casq.registry, for a moment. Deploy: at any time.

-- The newest attempt found nothing at the source. It is tried again, ever more
-- rarely, for as long as the thing is wanted.
ALTER TABLE casq.registry ADD COLUMN missing_since timestamptz;

---- create above / drop below ----

ALTER TABLE casq.registry DROP COLUMN missing_since;
