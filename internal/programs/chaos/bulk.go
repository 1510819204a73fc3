package main

import (
	"context"
	"encoding/json"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"
)

const bulkSQL = `INSERT INTO artifacts (id, project_id, path, size, sha256)
	SELECT id, $1, path, size, sum FROM unnest($2::bigint[], $3::text[], $4::bigint[], $5::text[]) AS f(id, path, size, sum)
	ON CONFLICT (path) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256`

// onAll calls f with all of some files; another who works on one is waited for.
func (w *writer) onAll(paths []string, f func() error) error {
	defer w.units.hold(append([]string(nil), paths...)...)()
	return f()
}

// putAll creates or changes files by one statement.
func (w *writer) putAll(ctx context.Context, tx pgx.Tx, r *rand.Rand, paths []string, projectID int64) error {
	var numbers, sizes []int64
	var sums []string
	for _, path := range paths {
		sum, size := w.files.invent(r)
		numbers, sizes, sums = append(numbers, ids[path]), append(sizes, size), append(sums, sum)
	}
	if _, err := tx.Exec(ctx, bulkSQL, projectID, numbers, paths, sizes, sums); err != nil {
		return err
	}
	for i, path := range paths {
		if err := w.files.put(path, sums[i]); err != nil {
			return err
		}
	}
	return nil
}

func bulkPut(ctx context.Context, w *writer, r *rand.Rand) error {
	paths := groupPaths(r.IntN(groups))
	return w.onAll(paths, func() error {
		return w.change(ctx, paths, nil, func(tx pgx.Tx) error { return w.putAll(ctx, tx, r, paths, 0) })
	})
}

// bulkRemove deletes all or a part of a group by one statement.
func bulkRemove(ctx context.Context, w *writer, r *rand.Rand) error {
	paths := groupPaths(r.IntN(groups))
	some := paths[:1+r.IntN(len(paths))]
	return w.onAll(paths, func() error {
		return w.change(ctx, paths, nil, func(tx pgx.Tx) error { return removeIn(ctx, tx, some...) })
	})
}

// project creates a project, or changes all of its files.
func project(ctx context.Context, w *writer, r *rand.Rand) error {
	p := r.IntN(projects)
	paths := projectPaths(p)
	return w.onAll(paths, func() error {
		return w.change(ctx, paths, nil, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "INSERT INTO projects VALUES ($1) ON CONFLICT DO NOTHING", p+1); err != nil {
				return err
			}
			return w.putAll(ctx, tx, r, paths, int64(p+1))
		})
	})
}

// dropProject deletes a project, and by cascade its files.
func dropProject(ctx context.Context, w *writer, r *rand.Rand) error {
	p := r.IntN(projects)
	paths := projectPaths(p)
	return w.onAll(paths, func() error {
		return w.change(ctx, paths, nil, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "DELETE FROM projects WHERE id = $1", p+1)
			return err
		})
	})
}

// flipOver makes a folder of a file, or the other way round.
func flipOver(ctx context.Context, w *writer, r *rand.Rand) error {
	picked, release := w.pick(r, 1, flips, flip, unit)
	defer release()
	if len(picked) == 0 {
		return nil
	}
	file, inside := picked[0], picked[0]+"/"+flipInside
	both := []string{file, inside}
	sums, _, err := w.rows(ctx, both, nil)
	if err != nil {
		if lostConnection(err) {
			return nil
		}
		return err
	}
	next := file
	if sums[file] != "" {
		next = inside
	}
	if err := w.change(ctx, both, nil, func(tx pgx.Tx) error { return removeIn(ctx, tx, both...) }); err != nil {
		return err
	}
	if sums, _, err = w.rows(ctx, both, nil); err != nil || len(sums) > 0 {
		return ignoreLost(err) // the removal did not come about
	}
	return w.change(ctx, both, nil, func(tx pgx.Tx) error { return w.putIn(ctx, tx, r, next) })
}

func ignoreLost(err error) error {
	if err == nil || lostConnection(err) {
		return nil
	}
	return err
}

const pushSQL = `INSERT INTO repositories (id, path, refs) VALUES ($1, $2, $3)
	ON CONFLICT (path) DO UPDATE SET refs = excluded.refs`

func (w *writer) onRepository(r *rand.Rand, f func(path string) error) error {
	picked, release := w.pick(r, 1, repositories, repositoryPath, repositoryUnit)
	defer release()
	if len(picked) == 0 {
		return nil
	}
	return f(picked[0])
}

// pushIn creates a repository or changes its refs inside of a transaction.
func (w *writer) pushIn(ctx context.Context, tx pgx.Tx, r *rand.Rand, path string) error {
	refs := w.repos.invent(r)
	text, err := json.Marshal(refs)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, pushSQL, ids[path], path, text); err != nil {
		return err
	}
	return w.repos.restore(ctx, path, refs)
}

func (w *writer) dropIn(ctx context.Context, tx pgx.Tx, path string) error {
	_, err := tx.Exec(ctx, "DELETE FROM repositories WHERE path = $1", path)
	return err
}

func push(ctx context.Context, w *writer, r *rand.Rand) error {
	return w.onRepository(r, func(path string) error {
		return w.change(ctx, nil, []string{path}, func(tx pgx.Tx) error { return w.pushIn(ctx, tx, r, path) })
	})
}

func dropRepository(ctx context.Context, w *writer, r *rand.Rand) error {
	return w.onRepository(r, func(path string) error {
		return w.change(ctx, nil, []string{path}, func(tx pgx.Tx) error { return w.dropIn(ctx, tx, path) })
	})
}

// recreateRepository deletes a repository and creates another in its place, in
// two transactions.
func recreateRepository(ctx context.Context, w *writer, r *rand.Rand) error {
	return w.onRepository(r, func(path string) error {
		err := w.change(ctx, nil, []string{path}, func(tx pgx.Tx) error { return w.dropIn(ctx, tx, path) })
		if err != nil {
			return err
		}
		return w.change(ctx, nil, []string{path}, func(tx pgx.Tx) error { return w.pushIn(ctx, tx, r, path) })
	})
}
