-- Waits for pages of reconciles that are being applied. The floors come before
-- rows of the registry: see casq.registry_floors.
SELECT FROM casq.registry_floors WHERE kind = ANY ($1::text[]) ORDER BY kind FOR UPDATE
