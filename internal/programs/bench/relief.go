package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"casq/replica"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	reliefClients    = 8
	reliefOperations = 1000 // of each client
	reliefLate       = 3 * time.Millisecond
)

// relief: how many percent of all statements the primary is spared, where each
// client reads its own writes back at once and standbys are some milliseconds late.
// The reference is the best that was published.
func relief(ctx context.Context) (_ []result, err error) {
	s, err := newReplicaSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, standby := range s.Standbys {
		if err := standby.SetApplyDelay(ctx, reliefLate); err != nil {
			return nil, err
		}
	}
	var results []result
	for _, mix := range []struct {
		reads     int
		published float64
	}{{90, 75.7}, {70, 49.8}, {50, 32.0}} {
		spared, err := s.relieved(ctx, mix.reads)
		if err != nil {
			return nil, err
		}
		results = append(results, result{
			Bench: fmt.Sprintf("relief/%d", mix.reads), Ours: spared, Reference: mix.published, Unit: "%",
			Note: fmt.Sprintf("statements that the primary is spared, at %d %% reads, each write read back at once by its client; %d clients, standbys %s late; reference: published",
				mix.reads, reliefClients, reliefLate),
		})
	}
	return results, nil
}

func (s *replicaSite) relieved(ctx context.Context, reads int) (float64, error) {
	db, err := s.open(ctx, 2, false)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	errs := make([]error, reliefClients)
	var group sync.WaitGroup
	for client := range errs {
		group.Go(func() { errs[client] = relievedClient(ctx, db, client, reads) })
	}
	group.Wait()
	var all, standby int64
	for reason, n := range db.Counts().Choices {
		all += n
		if reason.Standby() {
			standby += n
		}
	}
	return 100 * float64(standby) / float64(all), errors.Join(errs...)
}

func relievedClient(ctx context.Context, db *replica.DB, client, reads int) error {
	session := db.Session()
	var version int64
	for range reliefOperations {
		id := fmt.Sprint(client)
		if rand.N(100) >= reads {
			if _, err := session.Write().Exec(ctx, "UPDATE documents SET version = version + 1 WHERE id = $1", id); err != nil {
				return err
			}
		}
		if err := session.Read().QueryRow(ctx, readVersion, id).Scan(&version); err != nil {
			return err
		}
	}
	return nil
}

const (
	staleReads   = 1_000_000
	staleWriters = 2
	staleReaders = 8
)

// stale: reads that were behind an acknowledged write of what they watch, of a
// million, while standbys stop, lag, and are swapped behind one address, and the store
// is wiped; against round robin in the same conditions.
func stale(ctx context.Context) (_ []result, err error) {
	s, err := newReplicaSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	db, err := s.open(ctx, 2, true)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	pools := append([]*pgxpool.Pool{s.DB}, s.bare...)
	naive, err := s.staleUnder(ctx, staleReads/20, func(ctx context.Context, i int) (version int64, err error) {
		err = pools[rand.N(len(pools))].QueryRow(ctx, readVersion, fmt.Sprint(i)).Scan(&version)
		return version, err
	}, db)
	if err != nil {
		return nil, err
	}
	ours, err := s.staleUnder(ctx, staleReads, func(ctx context.Context, i int) (version int64, err error) {
		err = db.Session(object(i)).Read().QueryRow(ctx, readVersion, fmt.Sprint(i)).Scan(&version)
		return version, err
	}, db)
	if err != nil {
		return nil, err
	}
	var all, standby int64
	for reason, n := range db.Counts().Choices {
		if reason != replica.Write {
			all += n
		}
		if reason.Standby() {
			standby += n
		}
	}
	note := fmt.Sprintf("stale reads of %d that watch an object, standbys paused, late, and the store wiped, %d %% of them served by standbys; reference: of %d, round robin", staleReads, 100*standby/all, staleReads/20)
	return []result{{Bench: "stale", Ours: float64(ours), Reference: float64(naive), Unit: "reads", Note: note}}, nil
}

// staleUnder counts reads that return less than was acknowledged before they began.
func (s *replicaSite) staleUnder(ctx context.Context, reads int64, read func(context.Context, int) (int64, error), db *replica.DB) (int64, error) {
	const documents = 20
	var acknowledged [documents]atomic.Int64
	var left, behind atomic.Int64
	left.Store(reads)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var readers, others sync.WaitGroup
	stop := make(chan struct{})
	for writer := range staleWriters {
		others.Go(func() {
			for n := writer; ; n += staleWriters {
				select {
				case <-stop:
					return
				case <-ctx.Done():
					return
				case <-time.After(2 * time.Millisecond):
				}
				i := n % documents
				var version int64
				err := db.Session(object(i)).Write().QueryRow(ctx, "UPDATE documents SET version = version + 1 WHERE id = $1 RETURNING version", fmt.Sprint(i)).Scan(&version)
				if err != nil {
					cancel(err)
					return
				}
				acknowledged[i].Store(version)
			}
		})
	}
	others.Go(func() { s.disturb(ctx, stop, cancel) })
	for range staleReaders {
		readers.Go(func() {
			for left.Add(-1) >= 0 && ctx.Err() == nil {
				i := rand.N(documents)
				expected := acknowledged[i].Load()
				version, err := read(ctx, i)
				if err != nil {
					cancel(err)
				} else if version < expected {
					behind.Add(1)
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	others.Wait()
	return behind.Load(), context.Cause(ctx)
}

// disturb stops, delays and releases standbys, and wipes the store, until stop.
func (s *replicaSite) disturb(ctx context.Context, stop <-chan struct{}, fail context.CancelCauseFunc) {
	steps := []func() error{
		func() error { return s.Standbys[0].PauseReplay(ctx) },
		func() error { return s.Standbys[1].SetApplyDelay(ctx, 20*time.Millisecond) },
		func() error { return s.Standbys[0].ResumeReplay(ctx) },
		func() error { return s.redis.FlushAll(ctx).Err() },
		func() error { return s.Standbys[1].PauseReplay(ctx) },
		func() error { return s.Standbys[1].ResumeReplay(ctx) },
		func() error { return s.Standbys[1].SetApplyDelay(ctx, 0) },
		func() error { return nil },
		func() error { return nil },
	}
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-stop:
			for i := range s.Standbys { // As it was, for the next one.
				if err := errors.Join(s.Standbys[i].ResumeReplay(ctx), s.Standbys[i].SetApplyDelay(ctx, 0)); err != nil {
					fail(err)
				}
			}
			return
		case <-time.After(500 * time.Millisecond):
		}
		if err := steps[n%len(steps)](); err != nil {
			fail(err)
			return
		}
	}
}
