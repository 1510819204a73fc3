SELECT EXISTS (SELECT FROM casq.tracked WHERE kind = $1 AND scope_column IS NOT NULL)
