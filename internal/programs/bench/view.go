package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/eventlog"
	"casq/internal/programs/bench/measure"
	"casq/internal/view"
)

const (
	viewRows    = 10_000
	viewSingles = 500

	viewTables = `CREATE SCHEMA %[1]s;
		CREATE TABLE %[1]s.owner (id bigint PRIMARY KEY, name text NOT NULL UNIQUE, size bigint NOT NULL DEFAULT 0);
		CREATE TABLE %[1]s.repository (id bigint PRIMARY KEY, owner_id bigint NOT NULL, name text NOT NULL UNIQUE, size bigint NOT NULL DEFAULT 0);
		CREATE TABLE %[1]s.wiki (repo_id bigint PRIMARY KEY, name text NOT NULL UNIQUE, size bigint NOT NULL DEFAULT 0);
		INSERT INTO %[1]s.owner SELECT n, 'owner' || n FROM generate_series(1, %[2]d) AS n;
		INSERT INTO %[1]s.repository SELECT n, n AS owner_id, 'repository' || n FROM generate_series(1, %[2]d) AS n;
		INSERT INTO %[1]s.wiki SELECT n, 'wiki' || n FROM generate_series(1, %[2]d) AS n;
		CREATE INDEX ON %[1]s.repository (owner_id)`

	viewPlain = `SELECT casq.track('plain.owner', kind => 'owner', transfer => 'none', key_column => 'name', scope_column => 'id', size_column => 'size');
		SELECT casq.track('plain.repository', kind => 'repository', transfer => 'none', key_column => 'name', scope_column => 'owner_id', size_column => 'size');
		SELECT casq.track('plain.wiki', kind => 'wiki', transfer => 'none', key_column => 'name', scope_column => 'repo_id', size_column => 'size')`

	viewTracked = `CREATE VIEW viewed.place AS SELECT r.id, o.name || '/' || r.name AS path, r.owner_id, o.size + r.size + w.size AS size
			FROM viewed.repository AS r JOIN viewed.owner AS o ON o.id = r.owner_id JOIN viewed.wiki AS w ON w.repo_id = r.id;
		SELECT casq.track_view('viewed.place', kind => 'place', transfer => 'none', id_column => 'id', key_column => 'path', scope_column => 'owner_id', size_column => 'size',
			sources => '{"viewed.repository": "SELECT id FROM changed", "viewed.wiki": "SELECT repo_id FROM changed",
				"viewed.owner": "SELECT r.id FROM changed AS o JOIN viewed.repository AS r ON r.owner_id = o.id"}')`
)

// viewBench has the same three tables twice: tracked by themselves, and as a view of the three.
type viewBench struct{ *site }

// views: rows a second of an application's UPDATEs on the sources of a tracked view of three
// tables, against the same on tables that are tracked by themselves; and how fast what was noted
// becomes the image.
func views(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	b := &viewBench{s}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, sql := range []string{
		fmt.Sprintf(viewTables, "plain", viewRows), fmt.Sprintf(viewTables, "viewed", viewRows), viewPlain, viewTracked, "VACUUM ANALYZE",
	} {
		if err := b.exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	if _, err := b.resolve(ctx); err != nil {
		return nil, err
	}
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error { return b.round(ctx, f) })
	if err != nil {
		return nil, err
	}
	const note = "UPDATEs of the three tables; reference: each tracked by itself"
	return []measure.Result{
		figures.Compare("view/bulk", "viewed bulk", "plain bulk", "rows/s", fmt.Sprintf("%d rows a statement; ", viewRows)+note),
		figures.Compare("view/single", "viewed single", "plain single", "rows/s", "a row a transaction; "+note),
		figures.Compare("view/resolved", "resolved", "", "rows/s", "changed rows that the image follows, events included"),
	}, nil
}

func (b *viewBench) exec(ctx context.Context, sql string) error {
	if _, err := b.DB.Exec(ctx, sql); err == nil {
		return nil
	}
	conn, err := b.DB.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	_, err = conn.Conn().PgConn().Exec(ctx, sql).ReadAll() // several statements
	return err
}

func (b *viewBench) round(ctx context.Context, figures *measure.Figures) error {
	for _, schema := range []string{"plain", "viewed"} {
		if err := b.exec(ctx, "TRUNCATE casq.events"); err != nil {
			return err
		}
		if err := b.exec(ctx, "CHECKPOINT"); err != nil {
			return err
		}
		start := time.Now()
		for _, table := range []string{"owner", "repository", "wiki"} {
			if err := b.exec(ctx, fmt.Sprintf("UPDATE %s.%s SET size = size + 1", schema, table)); err != nil {
				return err
			}
		}
		figures.Add(schema+" bulk", 3*viewRows/time.Since(start).Seconds())
		start = time.Now()
		for i := range viewSingles {
			table := []string{"owner", "repository", "wiki"}[i%3]
			id := map[string]string{"wiki": "repo_id"}[table]
			if id == "" {
				id = "id"
			}
			if _, err := b.DB.Exec(ctx, fmt.Sprintf("UPDATE %s.%s SET size = size + 1 WHERE %s = $1", schema, table, id), i+1); err != nil {
				return err
			}
		}
		figures.Add(schema+" single", viewSingles/time.Since(start).Seconds())
	}
	took, err := b.resolve(ctx)
	figures.Add("resolved", (3*viewRows+viewSingles)/took.Seconds())
	return err
}

// resolve follows the view until its image is it, and returns how long that took.
func (b *viewBench) resolve(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	stop, halt := context.WithCancel(ctx)
	defer halt()
	if _, err := eventlog.Tick(ctx, b.DB, true); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	start := time.Now()
	go func() { done <- view.Run(stop, view.Config{Home: b.DB, Logger: b.log}) }()
	err := b.until(ctx, `SELECT (SELECT filled_at IS NOT NULL AND comparing_since IS NULL AND waiting = 0 FROM casq.view_status)
		AND EXISTS (SELECT FROM casq.cursors WHERE name = 'views' AND to_tick = 0) AND (SELECT lag_events = 0 FROM casq.cursor_status WHERE name = 'views')`)
	took := time.Since(start)
	halt()
	return took, errors.Join(err, <-done)
}
