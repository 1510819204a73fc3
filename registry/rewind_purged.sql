-- Were tombstones purged that came with ticks beyond (life $1, tick $2)?
SELECT EXISTS (SELECT FROM casq.registry_floors WHERE (life, tick) > ($1, $2))
