package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// churnPause lies between two changes: as many as an application makes
	// that leaves the machine time for other work.
	churnPause = 5 * time.Millisecond
	// fewestChanges and mostChanges are limits; in between, changes go on while
	// the second site catches up with what was loaded.
	fewestChanges = 60
	mostChanges   = 4000
)

// churner is an application that works while the second site follows. Files
// are written before their rows are committed, and removed after.
type churner struct {
	db        *pgx.Conn // one of its own
	fileStore *fileStore
	catalog   *catalog
	projects  map[string]int64
	folder    string // a name that nothing at the source has
	rng       *rand.Rand
	made      int
	counts    map[string]int
}

// changes are chosen at random, as often as they are in the list.
func (c *churner) changes() []change {
	return []change{
		{"created", c.create}, {"created", c.create},
		{"grown", c.grow}, {"grown", c.grow},
		{"shrunk", c.shrink}, {"shrunk", c.shrink},
		{"deleted", c.delete},
		{"replaced", c.replace},
		{"deleted, then created again", c.recreate},
		{"rolled back", c.rollBack},
	}
}

type change struct {
	name string
	do   func(ctx context.Context) (resources int, err error)
}

// run makes changes until enough tells that the second site has caught up with
// the given number of files.
func (c *churner) run(ctx context.Context, files int, enough func() bool) error {
	c.counts = make(map[string]int)
	changes, most := c.changes(), max(mostChanges, files/10)
	ticker := time.NewTicker(churnPause)
	defer ticker.Stop()
	for n := 0; n < fewestChanges || n < most && !enough(); n++ {
		// The first ones in turn, so that each kind is there.
		chosen := changes[n%len(changes)]
		if n >= fewestChanges {
			chosen = changes[c.rng.IntN(len(changes))]
		}
		resources, err := chosen.do(ctx)
		if err != nil {
			return fmt.Errorf("change artifacts (%s): %w", chosen.name, err)
		}
		c.counts[chosen.name] += resources
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
	return nil
}

// begin runs f in a transaction of the churner's connection.
func (c *churner) begin(ctx context.Context, f func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, c.db, f)
}

// newPath returns a path in one of the projects that no file ever had.
func (c *churner) newPath() string {
	c.made++
	top := "."
	if some := c.catalog.pick(c.rng, 1); len(some) == 1 {
		top = project(some[0].path)
	}
	if top == "." {
		return fmt.Sprintf("%s-%05d", c.folder, c.made)
	}
	return fmt.Sprintf("%s/%s/%05d", top, c.folder, c.made)
}

// fileSize is that of what is created, in bytes, at most.
const fileSize = 16 << 10

// noise returns bytes that no other file has.
func (c *churner) noise() []byte {
	b := make([]byte, c.rng.IntN(fileSize+1))
	for i := range b {
		b[i] = byte(c.rng.Uint32())
	}
	return b
}

func (c *churner) put(path string, text []byte) (artifact, error) {
	got, err := c.fileStore.put(path, bytes.NewReader(text))
	return artifact{path, got}, err
}

// create makes one to three artifacts with one INSERT.
func (c *churner) create(ctx context.Context) (int, error) {
	var batch []artifact
	for range 1 + c.rng.IntN(3) {
		a, err := c.put(c.newPath(), c.noise())
		if err != nil {
			return 0, err
		}
		batch = append(batch, a)
	}
	err := c.begin(ctx, func(tx pgx.Tx) error { return insertRows(ctx, tx, c.projects, batch) })
	if err != nil {
		return 0, err
	}
	for _, a := range batch {
		c.catalog.add(a)
	}
	return len(batch), nil
}

// rewrite gives an artifact other bytes.
func (c *churner) rewrite(ctx context.Context, edit func(old []byte) []byte) (int, error) {
	some := c.catalog.pick(c.rng, 1)
	if len(some) == 0 {
		return 0, nil
	}
	old, err := os.ReadFile(c.fileStore.path(some[0].path))
	if err != nil {
		return 0, err
	}
	a, err := c.put(some[0].path, edit(old))
	if err != nil {
		return 0, err
	}
	_, err = c.db.Exec(ctx, "UPDATE artifacts SET size = $2, sha256 = $3 WHERE path = $1", a.path, a.size, a.sha256())
	if err != nil {
		return 0, err
	}
	c.catalog.add(a)
	return 1, nil
}

func (c *churner) grow(ctx context.Context) (int, error) {
	return c.rewrite(ctx, func(old []byte) []byte { return append(append(old, '+'), c.noise()...) })
}

func (c *churner) shrink(ctx context.Context) (int, error) {
	return c.rewrite(ctx, func(old []byte) []byte { return old[:len(old)/2] })
}

// delete deletes some artifacts with one statement.
func (c *churner) delete(ctx context.Context) (int, error) {
	some := c.catalog.pick(c.rng, 1+c.rng.IntN(3))
	var paths []string
	for _, a := range some {
		paths = append(paths, a.path)
	}
	if _, err := c.db.Exec(ctx, "DELETE FROM artifacts WHERE path = ANY ($1)", paths); err != nil {
		return 0, err
	}
	var errs []error
	for _, path := range paths {
		c.catalog.remove(path)
		errs = append(errs, c.fileStore.remove(path))
	}
	return len(paths), errors.Join(errs...)
}

// replace deletes a row and inserts another one under the same path, in one
// transaction.
func (c *churner) replace(ctx context.Context) (int, error) {
	some := c.catalog.pick(c.rng, 1)
	if len(some) == 0 {
		return 0, nil
	}
	a, err := c.put(some[0].path, c.noise())
	if err != nil {
		return 0, err
	}
	err = c.begin(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "DELETE FROM artifacts WHERE path = $1", a.path); err != nil {
			return err
		}
		return insertRows(ctx, tx, c.projects, []artifact{a})
	})
	if err != nil {
		return 0, err
	}
	c.catalog.add(a)
	return 1, nil
}

// recreate deletes an artifact and creates another one under the same path, in
// two transactions.
func (c *churner) recreate(ctx context.Context) (int, error) {
	some := c.catalog.pick(c.rng, 1)
	if len(some) == 0 {
		return 0, nil
	}
	path := some[0].path
	if _, err := c.db.Exec(ctx, "DELETE FROM artifacts WHERE path = $1", path); err != nil {
		return 0, err
	}
	if err := c.fileStore.remove(path); err != nil {
		return 0, err
	}
	a, err := c.put(path, c.noise())
	if err != nil {
		return 0, err
	}
	err = c.begin(ctx, func(tx pgx.Tx) error { return insertRows(ctx, tx, c.projects, []artifact{a}) })
	if err != nil {
		return 0, err
	}
	c.catalog.add(a)
	return 1, nil
}

var errRolledBack = errors.New("rolled back on purpose")

// rollBack inserts an artifact that never comes to be.
func (c *churner) rollBack(ctx context.Context) (int, error) {
	path := c.newPath()
	a, err := c.put(path, c.noise())
	if err != nil {
		return 0, err
	}
	err = c.begin(ctx, func(tx pgx.Tx) error {
		return errors.Join(insertRows(ctx, tx, c.projects, []artifact{a}), errRolledBack)
	})
	if err == nil || !errors.Is(err, errRolledBack) {
		return 0, err
	}
	return 1, c.fileStore.remove(path)
}

// late inserts an artifact in a transaction that stays open until done is
// closed: its event has a low id, and becomes visible when those with higher
// ids have long been read.
func (c *churner) late(ctx context.Context, conn *pgx.Conn, path string, done <-chan struct{}) error {
	a, err := c.put(path, []byte("committed late\n"))
	if err != nil {
		return err
	}
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if err := insertRows(ctx, tx, c.projects, []artifact{a}); err != nil {
			return err
		}
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	if err != nil {
		return fmt.Errorf("commit late: %w", err)
	}
	c.catalog.add(a)
	return nil
}
