package runner

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// standbyWithin is how long a standby may take to answer, and standbyRest how long it is
// not asked after it did not.
const (
	standbyWithin = time.Second
	standbyRest   = 2 * time.Second
)

// standbys are asked in turn.
type standbys struct {
	pools []*pgxpool.Pool
	turn  atomic.Uint32
	rests atomic.Pointer[map[*pgxpool.Pool]time.Time]
}

// empty tells whether a standby that has everything the tick shows has no build for the
// class. Any other answer, or none, is for the primary to give: also that of a standby
// which is late.
func (s *standbys) empty(ctx context.Context, c class, at update) bool {
	if len(s.pools) == 0 || at == (update{}) {
		return false
	}
	pool := s.pools[int(s.turn.Add(1))%len(s.pools)]
	if rests := s.rests.Load(); rests != nil && time.Since((*rests)[pool]) < standbyRest {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, standbyWithin)
	defer cancel()
	waits, shows, err := waits(ctx, pool, c, at)
	if err != nil && ctx.Err() != nil {
		s.rest(pool)
	}
	return err == nil && shows && !waits
}

func (s *standbys) rest(pool *pgxpool.Pool) {
	next := map[*pgxpool.Pool]time.Time{pool: time.Now()}
	if rests := s.rests.Load(); rests != nil {
		for p, at := range *rests {
			if p != pool {
				next[p] = at
			}
		}
	}
	s.rests.Store(&next)
}

// waits asks a host whether there is a build for the class in the queue, and whether
// it shows the tick.
func waits(ctx context.Context, db *pgxpool.Pool, c class, at update) (waits, shows bool, err error) {
	var batch pgx.Batch
	batch.Queue(pickSQL.ByIndex)
	batch.Queue(pickSQL.Waits, c.tags, c.untagged, c.projects, at.tick, at.nonce)
	results := db.SendBatch(ctx, &batch)
	_, err = results.Exec()
	if err = errors.Join(err, results.QueryRow().Scan(&waits, &shows), results.Close()); err != nil {
		return false, false, fmt.Errorf("look at the queue: %w", err)
	}
	return waits, shows, nil
}
