-- A parent's scopes, to be fetched page by page. They are found once; where they
-- do not fit into work_mem, the server keeps them in a file.
DECLARE casq_scopes NO SCROLL CURSOR WITH HOLD FOR SELECT scope FROM casq.scopes_of($1, $2) AS scope
