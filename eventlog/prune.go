package eventlog

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// Pruning says how much is pruned at a time. The zero value is what callers
// want that are no tests.
type Pruning struct {
	Ticks  int // per transaction; defaults to 5000
	Events int // per transaction; defaults to 10000
	// Hook is called between two transactions. May be nil.
	Hook func()
}

// Pruned is what [Prune] has deleted.
type Pruned struct{ Ticks, Events int64 }

// Prune deletes ticks and events that nobody needs and that were there to be
// read for at least the time of retention. db is the primary. Any number of
// sessions may prune at once, and each may stop anywhere: ticks go first, and
// what the oldest one that is left shows can be found again.
func Prune(ctx context.Context, db DB, retention time.Duration, p Pruning) (Pruned, error) {
	var total Pruned
	for full := true; full; {
		var n int64
		limit := cmp.Or(p.Ticks, 5000)
		if err := db.QueryRow(ctx, "SELECT casq.prune_ticks($1, $2)", retention, limit).Scan(&n); err != nil {
			return total, fmt.Errorf("prune ticks: %w", err)
		}
		total.Ticks += n
		full = n >= int64(limit)
		p.pause()
	}
	for after := int64(0); ; {
		var n int64
		var last *int64
		err := db.QueryRow(ctx, "SELECT pruned, last_id FROM casq.prune_events($1, $2)", after, cmp.Or(p.Events, 10_000)).Scan(&n, &last)
		if err != nil {
			return total, fmt.Errorf("prune events: %w", err)
		}
		total.Events += n
		if last == nil {
			return total, nil
		}
		after = *last
		p.pause()
	}
}

func (p Pruning) pause() {
	if p.Hook != nil {
		p.Hook()
	}
}

// Left is what a site has not in place of what it wants; nil is not known.
type Left struct{ Resources, Bytes *int64 }

// ReportFollower tells the primary of another site's log how far a follower has
// come, so that what it has still to read is kept. known is false when that log
// does not have the position's tick: then nothing is kept. left is what of all that is not
// in place there.
func ReportFollower(ctx context.Context, db DB, name string, p Position, left Left) (known bool, err error) {
	err = db.QueryRow(ctx, "SELECT casq.report_follower(name => $1, tick => $2, nonce => $3, resources => $4, bytes => $5)",
		name, p.Tick, p.Nonce, left.Resources, left.Bytes).Scan(&known)
	if err != nil {
		return false, fmt.Errorf("report the position of follower %s: %w", name, err)
	}
	return known, nil
}
