-- name: ResetToken
-- Gives the runner with the token's hash $1 another token. It holds the row first: of two
-- calls with the same token the second is refused.
WITH mine AS (SELECT id FROM casq.runners WHERE token_hash = $1 FOR UPDATE)
SELECT id, casq.reset_runner_token(id) FROM mine

-- name: ForgetManager
DELETE FROM casq.runner_managers WHERE runner_id = $1 AND system_id = $2

-- name: DeleteRunner
DELETE FROM casq.runners WHERE id = $1 AND token_hash = $2
