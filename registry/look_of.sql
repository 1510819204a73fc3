SELECT listed, keys, payloads, scopes, life, life_id, tick FROM casq.things_of($1, $2, $3)
