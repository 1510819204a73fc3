-- name: Move
-- Moves the oldest $1 changes into the sums. Those that another worker moves right now are
-- left to it. Sums are written in the order of their groups.
WITH moved AS (
    DELETE FROM casq.registry_changes AS d
    WHERE d.id = ANY (ARRAY(SELECT o.id FROM casq.registry_changes AS o ORDER BY o.id LIMIT $1 FOR UPDATE SKIP LOCKED))
    RETURNING *
), summed AS (
    INSERT INTO casq.registry_counts AS c (kind, state, deleted, reason, since, process, count, bytes, asked, first_at, last_at)
    SELECT d.kind, d.state, d.deleted, d.reason, d.since, d.process, sum(d.count), sum(d.bytes), sum(d.asked),
           min(d.at) FILTER (WHERE d.count > 0), max(d.at) FILTER (WHERE d.count > 0)
    FROM moved AS d
    GROUP BY d.kind, d.state, d.deleted, d.reason, d.since, d.process
    HAVING sum(d.count) <> 0 OR sum(d.bytes) <> 0 OR sum(d.asked) <> 0
    ORDER BY d.kind, d.state, d.deleted, d.reason, d.since, d.process
    ON CONFLICT ON CONSTRAINT registry_counts_group DO UPDATE
    SET count = c.count + excluded.count, bytes = c.bytes + excluded.bytes, asked = c.asked + excluded.asked,
        first_at = least(c.first_at, excluded.first_at), last_at = greatest(c.last_at, excluded.last_at)
)
SELECT count(*) FROM moved

-- name: Forget
-- Groups that have nothing left.
DELETE FROM casq.registry_counts AS c WHERE c.count = 0 AND c.bytes = 0 AND c.asked = 0
