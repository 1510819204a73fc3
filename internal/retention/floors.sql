-- Without a row there would be nothing that a reconcile's page and a purge could
-- wait for each other with. In order: of two that insert, neither waits for the
-- other.
INSERT INTO casq.registry_floors (kind, life, tick)
SELECT DISTINCT kind COLLATE "C", 0, 0 FROM unnest($1::text[]) AS kind ORDER BY 1
ON CONFLICT (kind) DO NOTHING
