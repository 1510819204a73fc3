SELECT listed, keys, payloads, scopes, looked, life, life_id, tick FROM casq.things_of($1, $2, $3, $4)
