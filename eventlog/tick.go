package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"casq/internal/pause"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// DefaultTickInterval is how often a [Ticker] polls, unless said otherwise. A
// poll that finds nothing writes nothing and costs about 0.2 ms. In between it sees
// whether ids of events were drawn, which costs 0.05 ms, and polls at once then.
const DefaultTickInterval = 50 * time.Millisecond

// StandbyInterval is how often a follower on a standby, where ticks are not announced, polls
// for them.
const StandbyInterval = 20 * time.Millisecond

// Tick takes a tick when there is something to show, and returns its id; 0
// when there was nothing to do or another session is at it. With force it
// takes one in any case, except in the latter. db is the primary.
func Tick(ctx context.Context, db DB, force bool) (int64, error) {
	var id *int64
	if err := db.QueryRow(ctx, "SELECT casq.tick(force => $1)", force).Scan(&id); err != nil {
		return 0, fmt.Errorf("take a tick: %w", err)
	}
	if id == nil {
		return 0, nil
	}
	return *id, nil
}

// StaleAfter is how old the newest tick of a log never is while somebody takes
// ticks. In a log without events one is taken each 10 s, since more would not let
// an idle system rest; when the ticker that polls often is killed, another does so
// 12 s after it, at the latest. The rest is for a standby's delay and a restart.
const StaleAfter = 30 * time.Second

// Pace is how often a [Ticker] polls.
type Pace int

// The paces of a ticker. Which one it has decides how soon events are seen, and
// nothing else.
const (
	Often   Pace = iota // at each interval
	Seldom              // each second: nobody knows whether another polls often
	Standby             // each second, while no other ticker is seen to poll
)

const (
	seldom = time.Second
	// newestSQL has the newest tick, and whether it is so old that whichever ticker
	// polls often has to be away: it takes one each 10 s if there is no event.
	newestSQL = "SELECT id, abs(extract(epoch FROM clock_timestamp() - taken_at)) > 11 FROM casq.ticks ORDER BY id DESC LIMIT 1"
)

// Ticker takes ticks on the primary. Any number may run at once: a tick is
// taken under a lock, and one ticker's poll is as good as another's.
type Ticker struct {
	Pool     *pgxpool.Pool
	Logger   *slog.Logger
	Interval time.Duration // between two polls; defaults to [DefaultTickInterval]
	// Pace is asked at each interval, so that several tickers can agree on one
	// that polls often. Defaults to [Often].
	Pace func() Pace
	// Told is called with what became of each poll; nil: it could have taken a
	// tick, or it was another's turn. May be nil.
	Told func(error)
	// Polled is called after each poll that could have taken a tick, for tests.
	// May be nil.
	Polled func(Pace)

	own    int64 // the tick that it took last
	credit float64
	drawn  drawn
}

// drawn is what a ticker knows of the ids that events draw. They are drawn before the
// events are there: so it is eager for a while then, as most transactions are short.
type drawn struct {
	newest int64
	eager  time.Time // until then
}

const (
	// A minute of these reads takes 0.6 s of a worker's CPU and 0.2 s of the server's, on
	// two busy cores, of the 2.6 and 3.0 s that an idle pair takes in all.
	drawnEvery = 10 * time.Millisecond
	eagerFor   = 100 * time.Millisecond
	// mostCredit is how many ticks a ticker may take between two intervals, after a time
	// of as many intervals in which it took none. Where much is written it takes one at each
	// interval: ticks are kept for days, and their steps have more events then.
	mostCredit = 200
)

// sees returns true for a while after ids were drawn.
func (d *drawn) sees(ctx context.Context, db DB) bool {
	var newest int64
	if err := db.QueryRow(ctx, "SELECT last_value FROM casq.events_id_seq").Scan(&newest); err != nil {
		return false // the next poll tells what is wrong
	}
	now := time.Now()
	if newest != d.newest {
		d.newest, d.eager = newest, now.Add(eagerFor)
	}
	return now.Before(d.eager)
}

// Run polls until ctx is done. Errors are logged and tried again each second:
// a primary that restarts is no reason to stop ticking.
func (t *Ticker) Run(ctx context.Context) {
	interval := cmp.Or(t.Interval, DefaultTickInterval)
	var polled time.Time
	pause.Every(ctx, min(interval, drawnEvery), func() {
		pace := t.pace()
		if !t.due(ctx, pace, time.Since(polled), interval) {
			return
		}
		t.credit = min(mostCredit, t.credit+float64(time.Since(polled))/float64(interval))
		polled = time.Now()
		err := t.poll(ctx, pace)
		if t.Told != nil && ctx.Err() == nil {
			t.Told(err)
		}
		if err != nil && ctx.Err() == nil {
			t.Logger.ErrorContext(ctx, "cannot take a tick, trying again", "err", err)
			_ = pause.For(ctx, time.Second)
		}
	})
}

// due tells whether to poll, so long after the last poll.
func (t *Ticker) due(ctx context.Context, pace Pace, since, interval time.Duration) bool {
	switch {
	case pace != Often:
		return since >= seldom
	case since >= interval:
		return true
	case t.credit < 1:
		return false
	}
	return t.drawn.sees(ctx, t.Pool)
}

func (t *Ticker) pace() Pace {
	if t.Pace == nil {
		return Often
	}
	return t.Pace()
}

// poll takes a tick if there is something to show, and it is this ticker's turn.
func (t *Ticker) poll(ctx context.Context, pace Pace) error {
	if pace == Standby {
		needed, err := t.needed(ctx)
		if err != nil || !needed {
			return err
		}
	}
	id, err := Tick(ctx, t.Pool, false)
	if err != nil {
		return err
	}
	if id != 0 {
		t.own = id
		t.credit--
	}
	if t.Polled != nil {
		t.Polled(pace)
	}
	return nil
}

// needed tells a standby that no other ticker polls: the newest tick is old, or is
// its own. If it went by the age alone, it would stop after each tick that it
// takes, until that is old.
func (t *Ticker) needed(ctx context.Context) (bool, error) {
	var newest int64
	var old bool
	err := t.Pool.QueryRow(ctx, newestSQL).Scan(&newest, &old)
	if errors.Is(err, pgx.ErrNoRows) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("find the newest tick: %w", err)
	}
	return old || newest == t.own, nil
}
