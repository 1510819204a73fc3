-- name: ResetToken
-- Gives the runner with the token's hash $1 another token. It holds the row first: of two
-- calls with the same token the second is refused. When the new one expires is as the
-- function says, which this does not see.
WITH mine AS (SELECT id, token_expires_at - token_created_at AS lasts FROM casq.runners WHERE token_hash = $1 FOR UPDATE)
SELECT id, casq.reset_runner_token(id), now() + lasts FROM mine

-- name: ForgetManager
DELETE FROM casq.runner_managers WHERE runner_id = $1 AND system_id = $2

-- name: DeleteRunner
DELETE FROM casq.runners WHERE id = $1 AND token_hash = $2
