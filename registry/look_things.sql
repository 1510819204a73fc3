SELECT listed, keys, payloads, scopes, last_key, life, life_id, tick FROM casq.things($1, $2, $3, $4, $5)
