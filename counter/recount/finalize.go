package recount

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"time"

	"casq/counter/internal/shards"
	"casq/counter/internal/tally"
	"casq/eventlog"
	"casq/internal/pause"
	"casq/internal/queries"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

//go:embed finalize.sql
var finalizeText string

// finalizeSQL has the statements of finalize.sql.
var finalizeSQL = queries.Parse[struct{ Load, Repeat, Size, Sums, Ready, Absent, Swap, Differs, NoteDiffers, Done string }]("recount/finalize", finalizeText)

// ErrNotReady says that the counters have not come as far as the scan has seen:
// try again soon.
var ErrNotReady = errors.New("the counters have not come as far as the scan")

// errVoid says that the log is not the one that the scan saw.
var errVoid = errors.New("the log is not the one that the scan saw")

// finalizing is one call.
type finalizing struct {
	r      *Recounts
	id     int64 // of the scan
	token  uuid.UUID
	job    int64
	kind   string
	shards []int
	// early are the sums of what came after the snapshot, up to the tick upTo.
	early map[int]found
	upTo  int64
	// together is how many shards are swapped in one transaction.
	together int
}

// Finalize swaps in what a run of a scan has summed up, shard by shard: the sum,
// and what the log has added to it between the scan's snapshot and the position
// of the shard. Called late, or again, it does nothing ([ErrSuperseded]). A scan
// of a log that home has lost is asked for again. Errors: [ErrNotReady].
func (r *Recounts) Finalize(ctx context.Context, f Finalize, job int64) error {
	run := &finalizing{r: r, id: f.Scan, token: f.Token, job: job}
	err := run.all(ctx)
	if errors.Is(err, errVoid) {
		r.log.WarnContext(ctx, "what was counted is void, counting again", "scan", f.Scan, "err", err)
		return run.repeat(ctx)
	}
	if err != nil {
		return fmt.Errorf("swap in scan %d: %w", f.Scan, err)
	}
	return nil
}

func (f *finalizing) all(ctx context.Context) error {
	if err := f.load(ctx); err != nil {
		return err
	}
	// All together: shards that stand at one position share a read of the log. What
	// is summed up after it is nearly all there is.
	if err := f.r.cfg.Counters.Advance(ctx, f.shards...); err != nil {
		return err
	}
	if err := f.sumEarly(ctx); err != nil {
		return err
	}
	f.r.cfg.Hook("finalize:summed")
	for shards := range slices.Chunk(f.shards, f.together) {
		if err := f.swapAll(ctx, shards); err != nil {
			return err
		}
	}
	f.r.cfg.Hook("finalize:swapped")
	return f.finish(ctx)
}

func (f *finalizing) load(ctx context.Context) error {
	var valid bool
	err := f.r.cfg.Home.QueryRow(ctx, finalizeSQL.Load, f.id, f.token).Scan(&f.kind, &f.shards, &valid)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return ErrSuperseded
	case err != nil:
		return fmt.Errorf("load: %w", err)
	case !valid:
		return errVoid
	}
	return nil
}

// sumEarly sums up, before any lock, most of what came after the snapshot: up to
// the tick upTo.
func (f *finalizing) sumEarly(ctx context.Context) error {
	n, err := f.r.cfg.Counters.Shards(ctx)
	if err != nil {
		return err
	}
	var counters int
	if err := f.r.cfg.Home.QueryRow(ctx, finalizeSQL.Size, f.id).Scan(&f.upTo, &counters); err != nil {
		return fmt.Errorf("read how far the shards are: %w", err)
	}
	// Scopes are spread evenly.
	f.together = max(1, min(f.r.swapBatch/max(1, counters/max(1, len(f.shards))), len(f.shards)))
	rows, err := f.r.cfg.Home.Query(ctx, finalizeSQL.Sums, f.id, f.upTo)
	if err != nil {
		return fmt.Errorf("sum up what came after: %w", err)
	}
	f.early = make(map[int]found)
	var scope, size string
	var items int64
	_, err = pgx.ForEachRow(rows, []any{&scope, &size, &items}, func() error {
		shard := tally.ShardOf(tally.Key{Kind: f.kind, ScopeID: scope}, n)
		page := f.early[shard]
		page.add(scope, size, items)
		f.early[shard] = page
		return nil
	})
	if err != nil {
		return fmt.Errorf("sum up what came after: %w", err)
	}
	return nil
}

// swapAll swaps some shards, which it brings up to the log's newest tick, also when
// nothing happens in them, until that shows all that the scan has seen.
func (f *finalizing) swapAll(ctx context.Context, shards []int) error {
	deadline := time.Now().Add(f.r.patience)
	for {
		err := pgx.BeginTxFunc(ctx, f.r.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
			return f.swap(ctx, tx, shards)
		})
		if !errors.Is(err, ErrNotReady) || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		_ = pause.For(ctx, f.r.cfg.Interval)
		if err := f.r.cfg.Counters.Advance(ctx, shards...); err != nil {
			return err
		}
	}
}

// swap is one transaction, which moves no shard: they are locked, so their counters
// are what their positions say, and the exact values as of those positions take
// their place. Done again, it finds nothing left to swap.
func (f *finalizing) swap(ctx context.Context, tx pgx.Tx, mine []int) error {
	if _, err := tx.Exec(ctx, "SELECT set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)"); err != nil {
		return err
	}
	positions, err := shards.LockAll(ctx, tx, mine)
	if err != nil {
		return err
	}
	f.r.cfg.Hook("finalize:locked")
	together := make(map[eventlog.Position][]int)
	for _, shard := range mine {
		at := positions[shard]
		together[at] = append(together[at], shard)
	}
	for _, same := range together {
		if err := f.swapAt(ctx, tx, same, positions[same[0]]); err != nil {
			return err
		}
	}
	return nil
}

// swapAt swaps locked shards, which all stand at one position.
func (f *finalizing) swapAt(ctx context.Context, tx pgx.Tx, shards []int, at eventlog.Position) error {
	var valid, ready bool
	err := tx.QueryRow(ctx, finalizeSQL.Ready, f.id, f.token, at.Tick, f.upTo).Scan(&valid, &ready)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return ErrSuperseded
	case err != nil:
		return fmt.Errorf("check whether shards %v are there: %w", shards, err)
	case !valid:
		return errVoid
	case !ready:
		return ErrNotReady
	}
	if _, err := tx.Exec(ctx, finalizeSQL.Absent, f.id, shards); err != nil {
		return fmt.Errorf("add scopes without rows: %w", err)
	}
	var early found
	for _, shard := range shards {
		early.append(f.early[shard])
	}
	_, err = tx.Exec(ctx, finalizeSQL.Swap, f.id, shards, early.scopes, early.sizes, early.items, f.upTo, at.Tick, f.job, at.ToTick, at.Page)
	if err != nil {
		return fmt.Errorf("swap shards %v: %w", shards, err)
	}
	var differs bool
	if err := tx.QueryRow(ctx, finalizeSQL.Differs, f.id, shards).Scan(&differs); err != nil {
		return fmt.Errorf("compare shards %v: %w", shards, err)
	}
	if differs {
		if _, err := tx.Exec(ctx, finalizeSQL.NoteDiffers, f.kind); err != nil {
			return fmt.Errorf("note that counters differ: %w", err)
		}
		f.r.log.ErrorContext(ctx, "counters differ from their table", "kind", f.kind, "scan", f.id, "tick", at.Tick)
		f.r.cfg.Differs(f.kind)
	}
	return nil
}

// finish ends the scan, whose shards this call has all swapped in, and asks for a
// flush. A call that dies before it leaves swapped shards, which the next one finds
// with nothing left to swap.
func (f *finalizing) finish(ctx context.Context) error {
	return pgx.BeginTxFunc(ctx, f.r.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		job, err := f.r.cfg.Jobs.Flush(ctx, tx)
		if err != nil {
			return fmt.Errorf("ask for a flush: %w", err)
		}
		if err := lock(ctx, tx, f.id); err != nil {
			return err
		}
		var p over
		err = tx.QueryRow(ctx, finalizeSQL.Done, f.id, f.token, job).Scan(&p.recount, &p.part, &p.last, &p.order)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrSuperseded
		}
		if err != nil {
			return fmt.Errorf("end the recount: %w", err)
		}
		return f.r.goOn(ctx, tx, p, job)
	})
}

// repeat queues the scan again; or fails it, when the table is not tracked any
// more.
func (f *finalizing) repeat(ctx context.Context) error {
	return pgx.BeginTxFunc(ctx, f.r.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if err := lock(ctx, tx, f.id); err != nil {
			return err
		}
		var again bool
		err := tx.QueryRow(ctx, finalizeSQL.Repeat, f.id, f.token).Scan(&again)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("repeat scan %d: %w", f.id, err)
		}
		if !again {
			_, err := tx.Exec(ctx, scanSQL.Fail, f.id, "the table is not tracked any more")
			return err
		}
		return f.r.queue(ctx, tx, f.id)
	})
}
