package database

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Querier is a pool, a connection or a transaction.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Clock tells the time of a database, whatever the time of this machine is: what
// is stamped here and compared there has to be of one clock. Between two calls of
// [Clock.Read] it goes on by this process's monotonic clock, which no correction
// of the machine's time moves. It is late by the way of one answer at most, and
// never early. Before the first call it is the machine's.
//
// mu guards base, which was the database's time at at.
type Clock struct {
	mu       sync.Mutex
	base, at time.Time
}

// Read asks the database for its time. It returns how far its clock was moved
// since the last call; below 0 is back.
func (c *Clock) Read(ctx context.Context, db Querier) (moved time.Duration, err error) {
	var base time.Time
	if err := db.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&base); err != nil {
		return 0, fmt.Errorf("ask for the database's time: %w", err)
	}
	at := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.base.IsZero() {
		moved = base.Sub(c.base.Add(at.Sub(c.at)))
	}
	c.base, c.at = base, at
	return moved, nil
}

// Known tells whether the database was asked already.
func (c *Clock) Known() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.base.IsZero()
}

// Now is the database's time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.base.IsZero() {
		return time.Now()
	}
	return c.base.Add(time.Since(c.at))
}
