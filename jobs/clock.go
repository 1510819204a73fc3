package jobs

import (
	"context"
	"fmt"
	"time"

	"casq/internal/database"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/rivertype"
)

// Jobs are fetched by the database's clock, so they are stamped by it: by a
// worker whose clock is 90 s ahead, each retry would come 90 s late.
//
// clockBack is how far that clock may go back without anybody noticing; jobs that
// were available then would wait for as long.
const clockBack = time.Second

// aheadPage is how many jobs are put right in one statement.
const aheadPage = 10_000

// Clock is the clock of a River client that works on this queue's jobs.
func (q *Queue) Clock() rivertype.TimeGenerator { return riverClock{&q.clock} }

// riverClock is what River asks for the time.
type riverClock struct{ *database.Clock }

// NowOrNil implements [rivertype.TimeGenerator]: where a statement can have the
// time from the database, it has it there.
func (riverClock) NowOrNil() *time.Time { return nil }

// insertClock is the clock of a client that inserts. No statement by which River
// inserts takes the time from the database: it would be this machine's.
type insertClock struct{ *database.Clock }

// NowOrNil implements [rivertype.TimeGenerator].
func (c insertClock) NowOrNil() *time.Time {
	if !c.Known() {
		return nil
	}
	return new(c.Now())
}

// know reads the database's clock in tx unless that was done before. A process that
// does not work on jobs reads it at no other time.
func (q *Queue) know(ctx context.Context, tx pgx.Tx) error {
	if q.clock.Known() {
		return nil
	}
	_, err := q.clock.Read(ctx, tx)
	return err
}

// ReadClock reads the database's clock. A worker does so now and then. When the clock
// has gone back, the jobs that it had made available lie in the future, and are
// brought back.
func (q *Queue) ReadClock(ctx context.Context) error {
	moved, err := q.clock.Read(ctx, q.pool)
	if err != nil || moved > -clockBack {
		return err
	}
	return q.BringBack(ctx)
}

// BringBack brings jobs back to the database's time that lie in its future, since its
// clock went back. Who stamped them may have died before it noticed, may not have
// noticed yet, or may have written late what it had stamped before: so a worker does
// it before it works on anything, and whenever it meets such a job.
func (q *Queue) BringBack(ctx context.Context) error {
	for {
		tag, err := q.pool.Exec(ctx, queueSQL.Ahead, aheadPage)
		if err != nil {
			return fmt.Errorf("bring jobs back to the database's time, which went back: %w", err)
		}
		if tag.RowsAffected() < aheadPage {
			return nil
		}
	}
}
