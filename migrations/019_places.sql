-- Places that resources of several kinds may ask for, where kinds share a tree.
--
-- Lock: none on existing objects. Deploy: at any time.

-- Rows of other kinds that have the place of a resource, one around it or one within it,
-- where kinds share a tree: the one at the place itself and around it, and one within. A row
-- has its place while a run may be at work there, or has put something there (size) that no
-- other run has removed.
--
-- The settings leave the planner no other way than by key.
CREATE FUNCTION casq.place_holders(kind text, resource_id text)
RETURNS TABLE (kind text, resource_id text, claim uuid, size bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off SET jit = off AS $$
    WITH neighbour AS (
        SELECT o.kind, CASE WHEN o.prefix = '' THEN '' ELSE o.prefix || '/' END AS root,
               CASE WHEN k.prefix = '' THEN '' ELSE k.prefix || '/' END || place_holders.resource_id AS path
        FROM casq.kinds AS k
        JOIN casq.kinds AS o ON o.transfer = k.transfer AND o.kind <> k.kind
        WHERE k.kind = place_holders.kind AND k.prefix IS NOT NULL
    )
    SELECT n.kind, r.resource_id, r.claim, r.size
    FROM neighbour AS n
    CROSS JOIN LATERAL string_to_array(n.path, '/') AS parts
    CROSS JOIN LATERAL generate_series(1, cardinality(parts)) AS depth
    CROSS JOIN LATERAL array_to_string(parts[:depth], '/') AS around
    JOIN casq.registry AS r ON r.kind = n.kind AND r.resource_id = substr(around, length(n.root) + 1)
    WHERE starts_with(around, n.root) AND (r.claim IS NOT NULL OR r.size IS NOT NULL)
    UNION ALL
    SELECT n.kind, within.*
    FROM neighbour AS n
    CROSS JOIN LATERAL (
        SELECT r.resource_id, r.claim, r.size FROM casq.registry AS r
        WHERE r.kind = n.kind AND starts_with(n.path || '/', n.root)
          AND r.resource_id > substr(n.path || '/', length(n.root) + 1)
          AND r.resource_id < substr(n.path || '0', length(n.root) + 1)
          AND (r.claim IS NOT NULL OR r.size IS NOT NULL)
        ORDER BY r.resource_id LIMIT 1
    ) AS within
    UNION ALL
    SELECT n.kind, within.*
    FROM neighbour AS n
    CROSS JOIN LATERAL (
        SELECT r.resource_id, r.claim, r.size FROM casq.registry AS r
        -- All of the other kind is within it.
        WHERE r.kind = n.kind AND starts_with(n.root, n.path || '/')
          AND (r.claim IS NOT NULL OR r.size IS NOT NULL)
        ORDER BY r.resource_id LIMIT 1
    ) AS within
$$;

-- Takes claims (of resources by kind and key; the group's) back whose place a resource of
-- another kind has, before anything is done there: by an earlier claim, by what is in
-- place, or, in one group, by the order of both. The version has failed, and is tried again
-- ever more rarely (most seconds at most) for as long as it is wanted; it is no attempt that may
-- have killed a worker, so that few are counted. A removal is done: nothing of its own is
-- there. A row that has something in place has the place. Returns the claim, whether it
-- was a removal, why, and in how many seconds it is tried again.
--
-- It is called after the claims, in their transaction. Those who claim in a tree that kinds
-- share come one after the other, and after all other claims: whoever has found no neighbour
-- of his kind may hold what one that has come meanwhile asks for. So the second look, in a
-- snapshot of after the lock, is the one that counts: a kind that has begun to share since
-- the first either sees these claims, or is seen.
--
-- Where no kinds share, all that is done is two looks at the few rows of casq.kinds, by
-- plans that are kept: planning them took longer than the rest of a claim. The plan of the UPDATE
-- is kept, too, and may have been made while the registry was empty: it goes by key all the same.
CREATE FUNCTION casq.refuse_taken(kinds text[], ids text[], claims uuid[], most double precision)
RETURNS TABLE (claim uuid, removal boolean, why text, seconds double precision)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
BEGIN
    IF EXISTS (SELECT FROM casq.neighbours AS n WHERE n.kind = ANY (kinds)) THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('casq.places', 0));
    ELSE
        PERFORM pg_advisory_xact_lock_shared(hashtextextended('casq.places', 0));
    END IF;
    IF NOT EXISTS (SELECT FROM casq.neighbours AS n WHERE n.kind = ANY (kinds)) THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH taken AS (
        SELECT DISTINCT ON (r.kind, r.resource_id) r.kind, r.resource_id, r.claim, r.deleted_at IS NULL AS wanted, h.kind AS holder,
               format('its place is that of %s %s, and kinds %s and %s share a tree', h.kind, to_json(h.resource_id), r.kind, h.kind) AS why,
               least(r.attempts ^ 4, most) AS seconds
        FROM unnest(kinds, ids) AS w (kind, resource_id)
        CROSS JOIN LATERAL (
            SELECT * FROM casq.registry AS r
            WHERE r.kind = w.kind AND r.resource_id = w.resource_id AND r.claim = ANY (claims) AND r.size IS NULL
            LIMIT 1
        ) AS r
        CROSS JOIN LATERAL casq.place_holders(r.kind, r.resource_id) AS h
        WHERE EXISTS (SELECT FROM casq.neighbours AS n WHERE n.kind = w.kind)
          AND (h.size IS NOT NULL OR h.claim <> ALL (claims) OR (h.kind, h.resource_id) < (r.kind, r.resource_id))
        ORDER BY r.kind, r.resource_id, h.kind, h.resource_id
    )
    UPDATE casq.registry AS r
    SET claim = NULL, claim_process = NULL, claim_job = NULL, asked = false, missing_since = NULL,
        attempts = least(r.attempts, 6),
        synced_version = CASE WHEN t.wanted THEN r.synced_version ELSE r.version END,
        synced_incarnation = CASE WHEN t.wanted THEN r.synced_incarnation ELSE r.incarnation END,
        failed_version = CASE WHEN t.wanted THEN r.version ELSE r.failed_version END,
        last_error = CASE WHEN t.wanted THEN t.why END,
        failure_reason = CASE WHEN t.wanted THEN format('its place is that of kind %s', t.holder) ELSE r.failure_reason END,
        retry_at = CASE WHEN t.wanted THEN clock_timestamp() + make_interval(secs => t.seconds) END
    FROM taken AS t
    WHERE r.kind = t.kind AND r.resource_id = t.resource_id
    RETURNING t.claim, NOT t.wanted, t.why, t.seconds;
END $$;

---- create above / drop below ----

-- Lock: none. Deploy: with no worker running.
DROP FUNCTION casq.refuse_taken(text[], text[], uuid[], double precision);
DROP FUNCTION casq.place_holders(text, text);
