package replicas

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"casq/internal/pause"
	"casq/internal/programs/bench/measure"
	"casq/internal/testing/balancer"
	"casq/replica"
	"casq/replica/redisstore"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	staleReads = 1_000_000
	// staleFor bounds the run: there are as many reads as it has time for.
	staleFor        = 30 * time.Second
	staleDocuments  = 20
	staleWriters    = 2
	staleReaders    = 8
	staleWriteEvery = 2 * time.Millisecond
)

// staleBench is a primary and two standbys behind an address each. What stands behind an
// address changes.
type staleBench struct {
	*site
	primary   *balancer.Balancer
	addresses [2]*balancer.Balancer
	pools     []*pgxpool.Pool // of the primary's address, and of the standbys'
	ours      *replica.DB

	// acknowledged is what a read must show. A failover, which loses the newest, holds era
	// alone, and whoever reads or writes shares it.
	era          sync.RWMutex
	acknowledged [staleDocuments]atomic.Int64
	left         atomic.Int64
	faults       staleFaults
}

// tally counts reads of one kind.
type tally struct{ reads, stale, failed atomic.Int64 }

// Stale measures reads that were behind an acknowledged write of what they watch, of a million
// or of as many as there is time for, while standbys stop, lag and return, are swapped behind
// one address and set up again, the store is wiped, and primaries are killed; against round
// robin at the same time.
func Stale(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	started, err := newSite(ctx, true)
	if err != nil {
		return nil, err
	}
	b := &staleBench{site: started}
	defer func() { err = errors.Join(err, b.stop()) }()
	if err := b.start(ctx); err != nil {
		return nil, err
	}
	m.Say("reads under faults, for up to %s", staleFor)
	var ours, naive tally
	if err := b.run(ctx, &ours, &naive); err != nil {
		return nil, err
	}
	f := &b.faults
	note := fmt.Sprintf("stale reads of %d that watch an object (%d failed), in %d rounds of standbys paused, late and swapped behind one address, the store wiped, and the primary killed; reference: of %d, round robin beside it (%d failed)",
		ours.reads.Load(), ours.failed.Load(), f.rounds, naive.reads.Load(), naive.failed.Load())
	return []measure.Result{
		{Bench: "stale", Ours: float64(ours.stale.Load()), Reference: float64(naive.stale.Load()), Unit: "reads", Note: note},
		{
			Bench: "stale/served", Ours: 100 * float64(f.served) / float64(max(f.all, 1)), Unit: "%",
			Note: fmt.Sprintf("of %d of those reads, while both standbys were well, that a standby served; expected 80", f.all),
		},
	}, nil
}

func (b *staleBench) start(ctx context.Context) (err error) {
	if b.primary, err = balancer.New(b.URL); err != nil {
		return err
	}
	urls := make([]string, 0, 3)
	for i := range b.addresses {
		if b.addresses[i], err = balancer.New(b.Standbys[i].URL("postgres")); err != nil {
			return err
		}
	}
	for _, address := range []*balancer.Balancer{b.primary, b.addresses[0], b.addresses[1]} {
		url, err := address.Behind(b.URL)
		if err != nil {
			return err
		}
		pool, err := pgxpool.New(ctx, url)
		if err != nil {
			return err
		}
		urls, b.pools = append(urls, url), append(b.pools, pool)
	}
	b.ours, err = replica.New(ctx, b.pools[0], replica.Options{
		Standbys: replica.URLs(urls[1:]...), Logger: slog.New(slog.DiscardHandler),
		Store: redisstore.New(b.redis, redisstore.Options{Timeout: time.Second}),
	})
	return err
}

func (b *staleBench) stop() error {
	if b.ours != nil {
		b.ours.Close()
	}
	for _, pool := range b.pools {
		pool.Close()
	}
	var errs []error
	for _, address := range []*balancer.Balancer{b.primary, b.addresses[0], b.addresses[1]} {
		if address != nil {
			errs = append(errs, address.Close())
		}
	}
	return errors.Join(append(errs, b.close())...)
}

// run has writers write, readers read, and the faults happen, until there were enough reads.
func (b *staleBench) run(ctx context.Context, ours, naive *tally) error {
	ctx, cancel := context.WithTimeout(ctx, staleFor)
	defer cancel()
	b.left.Store(staleReads)
	errs := make(chan error, 1)
	go func() { errs <- b.disturb(ctx) }()
	var others, readers sync.WaitGroup
	for writer := range staleWriters {
		others.Go(func() { b.write(ctx, writer) })
	}
	others.Go(func() {
		b.read(ctx, naive, func(ctx context.Context, i int) (version int64, err error) {
			err = b.pools[rand.N(len(b.pools))].QueryRow(ctx, readVersion, fmt.Sprint(i)).Scan(&version)
			return version, err
		})
	})
	for range staleReaders {
		readers.Go(func() {
			b.read(ctx, ours, func(ctx context.Context, i int) (version int64, err error) {
				b.left.Add(-1)
				err = b.ours.Session(object(i)).Read().QueryRow(ctx, readVersion, fmt.Sprint(i)).Scan(&version)
				return version, err
			})
		})
	}
	var failed error
	go func() { readers.Wait(); cancel() }()
	failed = <-errs // It ends with ctx, after the round that is under way.
	cancel()
	readers.Wait()
	others.Wait()
	return failed
}

// write adds one to every staleWriters-th document in turn.
func (b *staleBench) write(ctx context.Context, writer int) {
	for n := writer; pause.For(ctx, staleWriteEvery) == nil; n += staleWriters {
		b.writeOne(ctx, n%staleDocuments)
	}
}

func (b *staleBench) writeOne(ctx context.Context, i int) {
	b.era.RLock()
	defer b.era.RUnlock()
	var version int64
	err := b.ours.Session(object(i)).Write().QueryRow(ctx, "UPDATE documents SET version = version + 1 WHERE id = $1 RETURNING version", fmt.Sprint(i)).Scan(&version)
	if err == nil { // Else the primary is away.
		b.acknowledged[i].Store(version)
	}
}

// read reads documents until there were enough reads.
func (b *staleBench) read(ctx context.Context, t *tally, one func(context.Context, int) (int64, error)) {
	for b.left.Load() > 0 && ctx.Err() == nil {
		if !b.readOne(ctx, t, one) && pause.For(ctx, time.Millisecond) != nil {
			return
		}
	}
}

func (b *staleBench) readOne(ctx context.Context, t *tally, one func(context.Context, int) (int64, error)) bool {
	b.era.RLock()
	defer b.era.RUnlock()
	i := rand.N(staleDocuments)
	expected := b.acknowledged[i].Load()
	version, err := one(ctx, i)
	switch {
	case ctx.Err() != nil:
		return false
	case err != nil:
		t.failed.Add(1)
		return false
	case version < expected:
		t.stale.Add(1)
	}
	t.reads.Add(1)
	return true
}
