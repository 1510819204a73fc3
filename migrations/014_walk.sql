-- Walking through what is in place, and a brake for removals.
--
-- Lock: casq.reconcile_runs and casq.reconcile_counts, for a moment. Deploy: at
-- any time; workers of before do not walk, and do not read the report's new
-- columns.

ALTER TABLE casq.reconcile_runs
    DROP CONSTRAINT reconcile_reason_is_known,
    ADD CONSTRAINT reconcile_reason_is_known CHECK (reason IN ('asked', 'scheduled', 'lost', 'pruned', 'failover')),
    DROP CONSTRAINT reconcile_phase_is_known,
    ADD CONSTRAINT reconcile_phase_is_known CHECK (phase IN ('things', 'rows', 'staging', 'walk')),
    -- Also what is in place is compared with the registry.
    ADD COLUMN walk boolean NOT NULL DEFAULT false,
    -- What is nobody's is removed; otherwise it is only told of.
    ADD COLUMN remove_orphans boolean NOT NULL DEFAULT false,
    -- Home may have lost what was done since then: what was put in place since is
    -- compared by content. NULL: nothing was lost.
    ADD COLUMN lost_since timestamptz,
    -- Up to so many rows of a kind may be removed, whatever their share is.
    ADD COLUMN allow_remove bigint NOT NULL DEFAULT 0;

ALTER TABLE casq.reconcile_counts
    ADD COLUMN held_back bigint NOT NULL DEFAULT 0, -- not removed: too many
    ADD COLUMN orphans bigint NOT NULL DEFAULT 0, -- in place, and of no row
    ADD COLUMN orphans_removed bigint NOT NULL DEFAULT 0;

-- The first of what a walk found in place and nobody's, by kind.
CREATE TABLE casq.reconcile_orphans (
    run bigint NOT NULL REFERENCES casq.reconcile_runs ON DELETE CASCADE,
    kind text COLLATE "C" NOT NULL,
    resource_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (run, kind, resource_id)
);

CREATE OR REPLACE VIEW casq.reconcile_report AS
SELECT r.id AS run, r.reason, r.dry_run,
       CASE WHEN r.finished_at IS NOT NULL THEN 'finished'
            WHEN EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.process AND p.dead_at IS NULL) THEN 'running'
            WHEN r.waiting IS NOT NULL THEN 'waiting'
            ELSE 'asked' END AS state,
       r.phase, r.at_kind, r.waiting, r.requested_at, r.started_at, r.finished_at,
       c.kind, c.unlisted, c.looked_at, c.created, c.adopted, c.changed, c.removed, c.requeued, c.checks, c.late, c.staging_removed,
       c.held_back, c.orphans, c.orphans_removed
FROM casq.reconcile_runs AS r
LEFT JOIN casq.reconcile_counts AS c ON c.run = r.id;

-- Asks for a walk in the transaction that begins another life of the log which
-- home's registry follows, when that log is home's own: rows were then lost
-- together with the events. What the registry did for them to the target was not.
CREATE FUNCTION casq.on_life() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM casq.cursors AS c JOIN casq.lives AS l ON l.life = c.life AND l.id = c.life_id
               WHERE c.name = 'registry' AND l.life < NEW.life)
    THEN
        INSERT INTO casq.reconcile_runs (reason, walk, lost_since, at_life, at_tick)
        -- A tick that is there was committed before all that was lost.
        SELECT 'failover', true, coalesce((SELECT t.taken_at FROM casq.ticks AS t ORDER BY t.id DESC LIMIT 1), to_timestamp(0)),
               NEW.life, NEW.began_tick;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER on_life AFTER INSERT ON casq.lives FOR EACH ROW EXECUTE FUNCTION casq.on_life();

---- create above / drop below ----

DROP TRIGGER on_life ON casq.lives;
DROP FUNCTION casq.on_life();
DROP VIEW casq.reconcile_report;
CREATE VIEW casq.reconcile_report AS
SELECT r.id AS run, r.reason, r.dry_run,
       CASE WHEN r.finished_at IS NOT NULL THEN 'finished'
            WHEN EXISTS (SELECT FROM casq.processes AS p WHERE p.id = r.process AND p.dead_at IS NULL) THEN 'running'
            WHEN r.waiting IS NOT NULL THEN 'waiting'
            ELSE 'asked' END AS state,
       r.phase, r.at_kind, r.waiting, r.requested_at, r.started_at, r.finished_at,
       c.kind, c.unlisted, c.looked_at, c.created, c.adopted, c.changed, c.removed, c.requeued, c.checks, c.late, c.staging_removed
FROM casq.reconcile_runs AS r
LEFT JOIN casq.reconcile_counts AS c ON c.run = r.id;
DROP TABLE casq.reconcile_orphans;
ALTER TABLE casq.reconcile_counts DROP COLUMN held_back, DROP COLUMN orphans, DROP COLUMN orphans_removed;
-- Workers of before know neither the reason nor the phase.
DELETE FROM casq.reconcile_runs WHERE reason = 'failover';
UPDATE casq.reconcile_runs SET phase = 'staging', at_kind = NULL, after_key = NULL WHERE phase = 'walk';
ALTER TABLE casq.reconcile_runs
    DROP COLUMN walk, DROP COLUMN remove_orphans, DROP COLUMN lost_since, DROP COLUMN allow_remove,
    DROP CONSTRAINT reconcile_reason_is_known,
    ADD CONSTRAINT reconcile_reason_is_known CHECK (reason IN ('asked', 'scheduled', 'lost', 'pruned')),
    DROP CONSTRAINT reconcile_phase_is_known,
    ADD CONSTRAINT reconcile_phase_is_known CHECK (phase IN ('things', 'rows', 'staging'));
