package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

const (
	// batchRows is the size of a loading transaction.
	batchRows = 300
	// loaders are connections that load, so that transactions overlap and
	// commit in another order than they began.
	loaders = 2
)

// loader copies the source to the primary site and makes the rows.
type loader struct {
	scan      *scan
	fileStore *fileStore
	db        *pgxpool.Pool
	catalog   *catalog
	projects  map[string]int64

	// mu guards before: what was read at the source.
	mu     sync.Mutex
	before map[string]content
}

// makeProjects inserts the projects and learns their ids.
func (l *loader) makeProjects(ctx context.Context) error {
	rows, err := l.db.Query(ctx, "INSERT INTO projects (name) SELECT unnest($1::text[]) RETURNING name, id", l.scan.projects())
	if err != nil {
		return fmt.Errorf("insert projects: %w", err)
	}
	l.projects = make(map[string]int64)
	var name string
	var id int64
	_, err = pgx.ForEachRow(rows, []any{&name, &id}, func() error {
		l.projects[name] = id
		return nil
	})
	if err != nil {
		return fmt.Errorf("insert projects: %w", err)
	}
	return nil
}

// load copies all files, several at once, and inserts their rows as they come.
// A row is inserted when its file is in place.
func (l *loader) load(ctx context.Context) error {
	l.before = make(map[string]content, len(l.scan.files))
	paths, copied := make(chan string), make(chan artifact, 2*batchRows)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(paths)
		for _, path := range l.scan.files {
			select {
			case paths <- path:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	group.Go(func() error {
		defer close(copied)
		copiers, ctx := errgroup.WithContext(ctx)
		for range 2 * runtime.GOMAXPROCS(0) {
			copiers.Go(func() error { return l.copyAll(ctx, paths, copied) })
		}
		return copiers.Wait()
	})
	for i := range loaders {
		group.Go(func() error { return l.insertAll(ctx, copied, i%2 == 0) })
	}
	return group.Wait()
}

func (l *loader) copyAll(ctx context.Context, paths <-chan string, copied chan<- artifact) error {
	for path := range paths {
		content, ok, err := l.copy(path)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		select {
		case copied <- artifact{path, content}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// copy copies one file; false: it was skipped.
func (l *loader) copy(path string) (content, bool, error) {
	file, err := openRegular(filepath.Join(l.scan.root, path))
	if err == nil {
		defer file.Close()
		var c content
		if c, err = l.fileStore.put(path, file); err == nil {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.before[path] = c
			return c, true, nil
		}
	}
	_, reading := errors.AsType[readError](err)
	reason := whyUnread(err)
	if reason == "" || file != nil && !reading {
		return content{}, false, fmt.Errorf("copy %s: %w", quoteName(path), err)
	}
	l.scan.skipped.add(reason, path)
	return content{}, false, nil
}

// insertAll inserts what was copied, one transaction per batch.
func (l *loader) insertAll(ctx context.Context, copied <-chan artifact, bulk bool) error {
	for {
		batch := next(ctx, copied)
		if len(batch) == 0 {
			return context.Cause(ctx)
		}
		if err := l.insert(ctx, batch, bulk); err != nil {
			return fmt.Errorf("insert %d artifacts: %w", len(batch), err)
		}
		for _, a := range batch {
			l.catalog.add(a)
		}
	}
}

// next waits for a batch; none is the end.
func next(ctx context.Context, copied <-chan artifact) (batch []artifact) {
	for len(batch) < batchRows {
		select {
		case a, more := <-copied:
			if !more {
				return batch
			}
			batch = append(batch, a)
		case <-ctx.Done():
			return nil
		}
	}
	return batch
}

// insert is one transaction of an application: COPY, or an INSERT of many rows.
func (l *loader) insert(ctx context.Context, batch []artifact, bulk bool) error {
	return pgx.BeginFunc(ctx, l.db, func(tx pgx.Tx) error {
		if !bulk {
			return insertRows(ctx, tx, l.projects, batch)
		}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"artifacts"}, []string{"project_id", "path", "size", "sha256"},
			pgx.CopyFromSlice(len(batch), func(i int) ([]any, error) {
				a := batch[i]
				return []any{l.projects[project(a.path)], a.path, a.size, a.sha256()}, nil
			}))
		return err
	})
}

func insertRows(ctx context.Context, tx pgx.Tx, projects map[string]int64, batch []artifact) error {
	var ids, sizes []int64
	var paths, sums []string
	for _, a := range batch {
		ids, sizes = append(ids, projects[project(a.path)]), append(sizes, a.size)
		paths, sums = append(paths, a.path), append(sums, a.sha256())
	}
	_, err := tx.Exec(ctx, `INSERT INTO artifacts (project_id, path, size, sha256)
		SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[])`, ids, paths, sizes, sums)
	return err
}

// unchanged reads the source again and returns what is not as it was read
// before.
func (l *loader) unchanged(ctx context.Context) ([]string, error) {
	now, err := scanSource(ctx, l.scan.root)
	if err != nil {
		return nil, err
	}
	after, err := readAll(ctx, l.scan.root, now.files, func(_ string, err error) error {
		if whyUnread(err) != "" {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read source again: %w", err)
	}
	return changed(l.scan.root, l.before, after), nil
}
