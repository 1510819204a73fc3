package main

import (
	"context"
	"math/rand/v2"
	"time"

	"casq/internal/database"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// operation is something that the application does, chosen by weight.
type operation struct {
	name   string
	weight int
	do     func(ctx context.Context, w *writer, r *rand.Rand) error
}

var operations = []operation{
	{"put", 20, put},
	{"remove", 10, remove},
	{"recreate", 8, recreate},
	{"recreate at once", 6, recreateAtOnce},
	{"move", 6, move},
	{"two at once", 6, duel},
	{"roll back", 4, rollBack},
	{"savepoint", 4, savepoint},
	{"bulk put", 4, bulkPut},
	{"bulk remove", 3, bulkRemove},
	{"project", 4, project},
	{"drop project", 2, dropProject},
	{"flip", 4, flipOver},
	{"push", 8, push},
	{"drop repository", 3, dropRepository},
	{"recreate repository", 3, recreateRepository},
}

func chooseOperation(r *rand.Rand) operation {
	total := 0
	for _, o := range operations {
		total += o.weight
	}
	at := r.IntN(total)
	for _, o := range operations {
		if at -= o.weight; at < 0 {
			return o
		}
	}
	panic("the weights add up to less than their sum")
}

// ids are those of the paths: what is created again has the id it had.
var ids = func() map[string]int64 {
	all := make(map[string]int64)
	for i, path := range append(allFiles(), allRepositories()...) {
		all[path] = int64(i + 1)
	}
	return all
}()

const putSQL = `INSERT INTO artifacts (id, project_id, path, size, sha256) VALUES ($1, $2, $3, $4, $5)
	ON CONFLICT (path) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256`

// putIn creates or changes a file inside of a transaction. The bytes are there
// before the commit.
func (w *writer) putIn(ctx context.Context, tx pgx.Tx, r *rand.Rand, path string) error {
	sum, size := w.files.invent(r)
	if _, err := tx.Exec(ctx, putSQL, ids[path], 0, path, size, sum); err != nil {
		return err
	}
	return w.files.put(path, sum)
}

func removeIn(ctx context.Context, tx pgx.Tx, paths ...string) error {
	_, err := tx.Exec(ctx, "DELETE FROM artifacts WHERE path = ANY($1)", paths)
	return err
}

// onSingles calls f with n files that nobody else works on.
func (w *writer) onSingles(r *rand.Rand, n int, f func(paths []string) error) error {
	paths, release := w.pick(r, n, singles, single, unit)
	defer release()
	if len(paths) < n {
		return nil
	}
	return f(paths)
}

func put(ctx context.Context, w *writer, r *rand.Rand) error {
	return w.onSingles(r, 1, func(paths []string) error {
		return w.change(ctx, paths, nil, func(tx pgx.Tx) error { return w.putIn(ctx, tx, r, paths[0]) })
	})
}

func remove(ctx context.Context, w *writer, r *rand.Rand) error {
	return w.onSingles(r, 1, func(paths []string) error {
		return w.change(ctx, paths, nil, func(tx pgx.Tx) error { return removeIn(ctx, tx, paths...) })
	})
}

// recreate deletes a file and creates it again, in two transactions.
func recreate(ctx context.Context, w *writer, r *rand.Rand) error {
	return w.onSingles(r, 1, func(paths []string) error {
		err := w.change(ctx, paths, nil, func(tx pgx.Tx) error { return removeIn(ctx, tx, paths...) })
		if err != nil {
			return err
		}
		return w.change(ctx, paths, nil, func(tx pgx.Tx) error { return w.putIn(ctx, tx, r, paths[0]) })
	})
}

// recreateAtOnce does the same in one transaction.
func recreateAtOnce(ctx context.Context, w *writer, r *rand.Rand) error {
	return w.onSingles(r, 1, func(paths []string) error {
		return w.change(ctx, paths, nil, func(tx pgx.Tx) error {
			if err := removeIn(ctx, tx, paths...); err != nil {
				return err
			}
			return w.putIn(ctx, tx, r, paths[0])
		})
	})
}

// move changes the path of a row, in place of what is there.
func move(ctx context.Context, w *writer, r *rand.Rand) error {
	return w.onSingles(r, 2, func(paths []string) error {
		return w.change(ctx, paths, nil, func(tx pgx.Tx) error {
			from, to := paths[0], paths[1]
			if err := removeIn(ctx, tx, to); err != nil {
				return err
			}
			rows, err := tx.Query(ctx, "UPDATE artifacts SET path = $2, id = $3 WHERE path = $1 RETURNING sha256", from, to, ids[to])
			if err != nil {
				return err
			}
			sums, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil || len(sums) == 0 {
				return err
			}
			return w.files.put(to, sums[0])
		})
	})
}

const uniqueViolation = "23505"

// duel changes one file by two connections at once. The row's lock decides
// whose bytes come last.
func duel(ctx context.Context, w *writer, r *rand.Rand) error {
	seeds := []uint64{r.Uint64(), r.Uint64()}
	return w.onSingles(r, 1, func(paths []string) error {
		group, groupCtx := errgroup.WithContext(ctx)
		for _, seed := range seeds {
			mine := rand.New(rand.NewPCG(seed, 0))
			group.Go(func() error {
				err := pgx.BeginFunc(groupCtx, w.db, func(tx pgx.Tx) error { return w.putIn(groupCtx, tx, mine, paths[0]) })
				switch {
				case err == nil:
					w.committed.Add(1)
				case database.Code(err) == uniqueViolation, database.Code(err) == deadlockDetected:
					w.rolledBack.Add(1) // both create it, one was too late; or the table is altered
				case !lostConnection(err):
					return err
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		return w.restore(ctx, paths, nil)
	})
}

// rollBack writes the row and, now and then, the bytes of a change that does
// not come.
func rollBack(ctx context.Context, w *writer, r *rand.Rand) error {
	return w.onSingles(r, 2, func(paths []string) error {
		return w.change(ctx, paths, nil, func(tx pgx.Tx) error {
			sum, size := w.files.invent(r)
			if _, err := tx.Exec(ctx, putSQL, ids[paths[0]], 0, paths[0], size, sum); err != nil {
				return err
			}
			if err := removeIn(ctx, tx, paths[1]); err != nil {
				return err
			}
			if r.IntN(8) == 0 {
				if err := w.files.put(paths[0], sum); err != nil {
					return err
				}
			}
			return errRollback
		})
	})
}

// savepoint takes back a part of a transaction.
func savepoint(ctx context.Context, w *writer, r *rand.Rand) error {
	return w.onSingles(r, 3, func(paths []string) error {
		return w.change(ctx, paths, nil, func(tx pgx.Tx) error {
			if err := w.putIn(ctx, tx, r, paths[0]); err != nil {
				return err
			}
			part, err := tx.Begin(ctx)
			if err != nil {
				return err
			}
			if err := removeIn(ctx, part, paths[:2]...); err != nil {
				return err
			}
			if err := part.Rollback(ctx); err != nil {
				return err
			}
			return removeIn(ctx, tx, paths[2])
		})
	})
}

// late changes one file, waits for seconds, changes another, and commits after
// others that began later.
func late(ctx context.Context, w *writer, r *rand.Rand) error {
	wait := time.Duration(500+r.IntN(3500)) * time.Millisecond
	return w.onSingles(r, 2, func(paths []string) error {
		return w.change(ctx, paths, nil, func(tx pgx.Tx) error {
			sum, size := w.files.invent(r)
			if _, err := tx.Exec(ctx, putSQL, ids[paths[0]], 0, paths[0], size, sum); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(wait):
			}
			if err := w.files.put(paths[0], sum); err != nil {
				return err
			}
			return w.putIn(ctx, tx, r, paths[1])
		})
	})
}
