SELECT listed, keys, life, life_id, tick FROM casq.things_missing($1, $2, $3)
