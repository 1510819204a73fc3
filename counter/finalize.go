package counter

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"time"

	"casq/eventlog"
	"casq/internal/pause"
	"casq/internal/queries"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

//go:embed finalize.sql
var finalizeText string

// finalizeSQL has the statements of finalize.sql.
var finalizeSQL = queries.Parse[struct{ Load, Repeat, Size, Sums, Ready, Absent, Swap, Differs, Done string }]("counter/finalize", finalizeText)

// ErrNotReady says that the counters have not come as far as the scan has seen:
// try again soon.
var ErrNotReady = errors.New("the counters have not come as far as the scan")

// errVoid says that the log is not the one that the scan saw.
var errVoid = errors.New("the log is not the one that the scan saw")

// finalizePatience is how long one call waits for the log.
const finalizePatience = 3 * time.Second

// flushesSideBySide is how many shards are flushed at once before a swap. Most of a
// flush is round trips, and waiting for the disk.
const flushesSideBySide = 4

// swapBatch is about how many counters one transaction swaps, unless a shard has
// more: the shards are locked meanwhile. 16 shards of 60 counters took 0.16 s one by
// one, and take 0.02 s together.
const swapBatch = 5000

// Finalize names the run of a scan whose sums are to be swapped in.
type Finalize struct {
	Scan  int64
	Token uuid.UUID
}

// finalizing is one call.
type finalizing struct {
	*Counters
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
func (c *Counters) Finalize(ctx context.Context, f Finalize, job int64) error {
	run := &finalizing{Counters: c, id: f.Scan, token: f.Token, job: job}
	err := run.all(ctx)
	if errors.Is(err, errVoid) {
		c.log.WarnContext(ctx, "what was counted is void, counting again", "scan", f.Scan, "err", err)
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
	if err := f.advance(ctx, f.shards...); err != nil {
		return err
	}
	if err := f.sumEarly(ctx); err != nil {
		return err
	}
	f.cfg.Hook("finalize:summed")
	for shards := range slices.Chunk(f.shards, f.together) {
		if err := f.swapAll(ctx, shards); err != nil {
			return err
		}
	}
	f.cfg.Hook("finalize:swapped")
	return f.finish(ctx)
}

func (f *finalizing) load(ctx context.Context) error {
	var valid bool
	err := f.cfg.Home.QueryRow(ctx, finalizeSQL.Load, f.id, f.token).Scan(&f.kind, &f.shards, &valid)
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
	_, n, err := f.open(ctx)
	if err != nil {
		return err
	}
	var counters int
	if err := f.cfg.Home.QueryRow(ctx, finalizeSQL.Size, f.id).Scan(&f.upTo, &counters); err != nil {
		return fmt.Errorf("read how far the shards are: %w", err)
	}
	// Scopes are spread evenly.
	f.together = max(1, min(f.swapBatch/max(1, counters/max(1, len(f.shards))), len(f.shards)))
	rows, err := f.cfg.Home.Query(ctx, finalizeSQL.Sums, f.id, f.upTo)
	if err != nil {
		return fmt.Errorf("sum up what came after: %w", err)
	}
	f.early = make(map[int]found)
	var scope, size string
	var items int64
	_, err = pgx.ForEachRow(rows, []any{&scope, &size, &items}, func() error {
		shard := shardOf(Key{f.kind, scope}, n)
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
	deadline := time.Now().Add(f.patience)
	for {
		err := pgx.BeginTxFunc(ctx, f.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
			return f.swap(ctx, tx, shards)
		})
		if !errors.Is(err, ErrNotReady) || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		_ = pause.For(ctx, f.cfg.Interval)
		if err := f.advance(ctx, shards...); err != nil {
			return err
		}
	}
}

// advance brings shards to the newest tick, in Redis and in Postgres.
func (c *Counters) advance(ctx context.Context, shards ...int) error {
	buf, n, err := c.open(ctx)
	if err != nil {
		return err
	}
	err = c.advanceIn(ctx, buf, n, shards)
	if errors.Is(err, errRedis) {
		return c.advanceIn(ctx, nil, n, shards)
	}
	return err
}

func (c *Counters) advanceIn(ctx context.Context, buf *buffer, n int, shards []int) error {
	f := c.newFeeder(buf, n, shards...)
	if err := f.check(ctx); err != nil {
		return err
	}
	for more := true; more; {
		var err error
		if more, err = f.feedOnce(ctx); err != nil {
			return err
		}
	}
	if buf == nil {
		return nil
	}
	flushes, ctx := errgroup.WithContext(ctx)
	flushes.SetLimit(c.sideBySide)
	for _, shard := range shards {
		flushes.Go(func() error {
			_, _, err := c.flushShard(ctx, buf, shard)
			return err
		})
	}
	return flushes.Wait()
}

// feedOnce brings all shards on by a batch, stores that, and tells whether one of
// them is inside a step then. When another feeder brings them on, that will do.
func (f *feeder) feedOnce(ctx context.Context) (inStep bool, err error) {
	for at, shards := range f.groups() {
		if _, err := f.feed(ctx, at, shards, true); err != nil || f.stored == nil {
			return false, err
		}
	}
	for _, at := range f.read {
		inStep = inStep || at.InStep()
	}
	return inStep, nil
}

// swap is one transaction, which moves no shard: they are locked, so their counters
// are what their positions say, and the exact values as of those positions take
// their place. Done again, it finds nothing left to swap.
func (f *finalizing) swap(ctx context.Context, tx pgx.Tx, shards []int) error {
	if _, err := tx.Exec(ctx, "SELECT set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true)"); err != nil {
		return err
	}
	rows, err := tx.Query(ctx, shardsSQL.LockShards, shards)
	if err != nil {
		return fmt.Errorf("lock shards %v: %w", shards, err)
	}
	positions, err := scanShards(rows)
	if err != nil {
		return fmt.Errorf("lock shards %v: %w", shards, err)
	}
	f.cfg.Hook("finalize:locked")
	together := make(map[stamp][]int)
	for _, shard := range shards {
		at := stampOf(positions[shard])
		together[at] = append(together[at], shard)
	}
	for _, shards := range together {
		if err := f.swapAt(ctx, tx, shards, positions[shards[0]]); err != nil {
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
		f.log.ErrorContext(ctx, "counters differ from their table", "kind", f.kind, "scan", f.id, "tick", at.Tick)
	}
	return nil
}

// finish ends the scan, whose shards this call has all swapped in, and asks for a
// flush. A call that dies before it leaves swapped shards, which the next one finds
// with nothing left to swap.
func (f *finalizing) finish(ctx context.Context) error {
	return pgx.BeginTxFunc(ctx, f.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		job, err := f.cfg.Jobs.Flush(ctx, tx)
		if err != nil {
			return fmt.Errorf("ask for a flush: %w", err)
		}
		if err := lockRecount(ctx, tx, f.id); err != nil {
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
		return f.goOn(ctx, tx, p, job)
	})
}

// repeat queues the scan again; or fails it, when the table is not tracked any
// more.
func (f *finalizing) repeat(ctx context.Context) error {
	return pgx.BeginTxFunc(ctx, f.cfg.Home, pgx.TxOptions{}, func(tx pgx.Tx) error {
		if err := lockRecount(ctx, tx, f.id); err != nil {
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
		return f.queueScan(ctx, tx, f.id)
	})
}
