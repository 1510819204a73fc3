SELECT listed, keys, payloads, life, life_id, tick FROM casq.things_of($1, $2)
