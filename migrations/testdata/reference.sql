-- What docs/sql.md has, in its order: each object that has a comment. A row for an object
-- has no name of a column.
WITH relations AS (
    SELECT c.oid, c.relname, CASE c.relkind WHEN 'v' THEN 'Views' ELSE 'Tables' END AS section
    FROM pg_class AS c
    WHERE c.relnamespace = 'casq'::regnamespace AND c.relkind IN ('r', 'v')
      AND obj_description(c.oid, 'pg_class') IS NOT NULL
), described AS (
    SELECT 'Functions' AS section, format('casq.%s(%s)', p.proname, pg_get_function_arguments(p.oid)) AS name,
           '' AS "column", coalesce(nullif(pg_get_function_result(p.oid), 'void'), '') AS type, obj_description(p.oid, 'pg_proc') AS told,
           p.proname::text AS sorted, 0 AS rank
    FROM pg_proc AS p
    WHERE p.pronamespace = 'casq'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NOT NULL
    UNION ALL
    SELECT r.section, 'casq.' || r.relname, '', '', obj_description(r.oid, 'pg_class'), r.relname::text, 0
    FROM relations AS r
    UNION ALL
    SELECT r.section, 'casq.' || r.relname, a.attname::text, format_type(a.atttypid, a.atttypmod),
           coalesce(col_description(r.oid, a.attnum), ''), r.relname::text, a.attnum
    FROM relations AS r
    JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
)
SELECT section, name, "column", type, told FROM described
ORDER BY section, sorted COLLATE "C", rank
