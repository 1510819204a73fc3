-- Copies of resources that have got another key.
--
-- Lock: none on existing objects. Deploy: at any time.

-- What is in place under another key, and is to become the copy of a resource: whose row
-- has got a new key (resource_id), and lacks a copy there; under the key that it had
-- (base_id) that incarnation of it is in place, or was put aside. Until it is over (see
-- casq.move_is_over) the old copy is not removed.
--
-- incarnation is the new key's, once the event of it has come: what is in place is used for
-- that one only. Otherwise it is only kept. timeline and tick: the step of the log that told
-- of it, whose other events may be still to come.
CREATE TABLE casq.moves (
    kind text COLLATE "C" NOT NULL REFERENCES casq.kinds ON DELETE CASCADE,
    resource_id text COLLATE "C" NOT NULL,
    base_id text COLLATE "C" NOT NULL,
    base_incarnation bigint NOT NULL,
    via text COLLATE "C" NOT NULL,
    incarnation bigint,
    timeline integer NOT NULL,
    tick bigint NOT NULL,
    PRIMARY KEY (kind, resource_id, base_id, base_incarnation)
);
CREATE INDEX moves_base ON casq.moves (kind, base_id);

COMMENT ON TABLE casq.moves IS
    'Resources that have got another key, and whose copy is still to be moved: until then '
    'what is in place under the old key stays. Not to be changed by hand.';
COMMENT ON COLUMN casq.moves.kind IS 'its kind';
COMMENT ON COLUMN casq.moves.resource_id IS 'key that it has now';
COMMENT ON COLUMN casq.moves.base_id IS 'key under which its copy is in place';
COMMENT ON COLUMN casq.moves.base_incarnation IS 'of the resources that have had that key, the one that it is';
COMMENT ON COLUMN casq.moves.via IS 'key that it had just before: another than base_id where it has moved several times';
COMMENT ON COLUMN casq.moves.incarnation IS 'likewise of the new key; NULL: the event of that has not come';
COMMENT ON COLUMN casq.moves.timeline IS 'timeline of the log that told of it';
COMMENT ON COLUMN casq.moves.tick IS 'the tick that told of it';

-- Is what a move keeps not needed any more? The new key has a copy of its own; or it is not
-- wanted here, as far as the log was read, and no event of it was dead-lettered.
CREATE FUNCTION casq.move_is_over(m casq.moves) RETURNS boolean
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN r.live THEN r.placed
                ELSE NOT EXISTS (SELECT FROM casq.cursors AS c WHERE c.name = 'registry' AND (c.timeline, c.tick) < (m.timeline, m.tick))
                     AND NOT EXISTS (SELECT FROM casq.event_failures AS f
                                     WHERE f.kind = m.kind AND f.resource_id = m.resource_id AND f.replayed_at IS NULL AND f.cursor = 'registry') END
    FROM (SELECT) AS one
    LEFT JOIN LATERAL (
        SELECT true AS live, t.synced_incarnation IS NOT DISTINCT FROM t.incarnation AND t.checksum IS NOT NULL AS placed FROM casq.registry AS t
        WHERE t.kind = m.kind AND t.resource_id = m.resource_id AND t.deleted_at IS NULL
    ) AS r ON true
$$;

-- The resource for whose sake a row's copy is not removed yet; NULL: none.
CREATE FUNCTION casq.kept_for(r casq.registry) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT m.resource_id FROM casq.moves AS m
    WHERE m.kind = r.kind AND m.base_id = r.resource_id AND m.base_incarnation = r.synced_incarnation
      AND r.deleted_at IS NOT NULL AND r.synced_version IS DISTINCT FROM r.version
    ORDER BY m.resource_id LIMIT 1
$$;

---- create above / drop below ----

-- Lock: its own table. Deploy: with no worker running. Copies of what has got another key
-- are made anew, and the old ones removed.
DROP FUNCTION casq.kept_for(casq.registry);
DROP FUNCTION casq.move_is_over(casq.moves);
DROP TABLE casq.moves;
