package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// errRefused says that a token is nobody's: asked of the primary, so that it is so.
var errRefused = errors.New("no runner has this token")

// identity is a runner, as its token says.
type identity struct {
	id          int64
	hash        [32]byte
	description string
	class       class
	paused      bool
	limited     bool
	expires     *time.Time
}

// runnerCache keeps runners by their tokens, so that requests which merely wait ask
// nothing. Who is refused is not in it. What changes a runner is news, which empties its
// place; a pick asks for the token once more.
//
// mu guards everything.
type runnerCache struct {
	mu     sync.Mutex
	byHash map[[32]byte]cached
	byID   map[int64][32]byte
	// turns counts what was forgotten, so that an answer from before is not kept.
	turns int64
}

type cached struct {
	identity
	until time.Time
}

const (
	cachedFor   = 30 * time.Second
	mostRunners = 100_000
)

func newRunnerCache() *runnerCache {
	return &runnerCache{byHash: make(map[[32]byte]cached), byID: make(map[int64][32]byte)}
}

func (r *runnerCache) get(hash [32]byte) (identity, bool, int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, there := r.byHash[hash]
	fresh := there && time.Now().Before(c.until) && (c.expires == nil || time.Now().Before(*c.expires))
	return c.identity, fresh, r.turns
}

func (r *runnerCache) put(i identity, turn int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if turn != r.turns {
		return
	}
	if len(r.byHash) >= mostRunners {
		clear(r.byHash)
		clear(r.byID)
	}
	r.byHash[i.hash] = cached{i, time.Now().Add(cachedFor)}
	r.byID[i.id] = i.hash
}

func (r *runnerCache) forget(id int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turns++
	if hash, there := r.byID[id]; there {
		delete(r.byHash, hash)
		delete(r.byID, id)
	}
}

func (r *runnerCache) forgetAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turns++
	clear(r.byHash)
	clear(r.byID)
}

// identify returns the runner that a token stands for. errRefused is said after the
// primary was asked.
func (c *Coordinator) identify(ctx context.Context, token string) (identity, error) {
	known, fresh, _ := c.runners.get([32]byte(hashOf(token)))
	if fresh {
		return known, nil
	}
	return c.identifyNow(ctx, token)
}

// identifyNow asks the primary in any case.
func (c *Coordinator) identifyNow(ctx context.Context, token string) (identity, error) {
	hash := [32]byte(hashOf(token))
	_, _, turn := c.runners.get(hash)
	i, err := readIdentity(ctx, c.primary, hash)
	if err == nil {
		c.runners.put(i, turn)
	}
	return i, err
}

func readIdentity(ctx context.Context, db *pgxpool.Pool, hash [32]byte) (identity, error) {
	i := identity{hash: hash}
	err := db.QueryRow(ctx, buildSQL.RunnerOf, hash[:]).Scan(&i.id, &i.description, &i.class.tags, &i.class.untagged,
		&i.class.projects, &i.paused, &i.limited, &i.expires)
	if errors.Is(err, pgx.ErrNoRows) {
		return i, errRefused
	}
	if err != nil {
		return i, fmt.Errorf("find a runner by its token: %w", err)
	}
	return i, nil
}
