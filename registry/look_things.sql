SELECT listed, keys, payloads, last_key, life, life_id, tick FROM casq.things($1, $2, $3)
