-- Has the log nothing between home's tick ($1, with its mark $2) and tick $3 of
-- life $4? A stored position does not move over ticks without events, and does
-- not enter a life before it has some.
SELECT EXISTS (
    SELECT FROM casq.ticks AS mine
    JOIN casq.ticks AS shown ON shown.id = $3 AND shown.life = $4
    WHERE mine.id = $1 AND mine.mark = $2 AND mine.id <= shown.id
      AND NOT casq.events_between(mine.snapshot, shown.snapshot)
)
