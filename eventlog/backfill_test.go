package eventlog_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
)

// Keys of each type, in the order of the column, across pages.
func TestBackfillInKeyOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, key, value string }{
		{"bigint", "bigint", "i - 10"},
		{"uuid", "uuid", "md5(i::text)::uuid"},
		{"text", "text", "'k' || i"},
		{"text of a language", `text COLLATE "und-x-icu"`, "chr(60 + i) || 'ä' || i"},
		{"text without case", "text COLLATE nocase", "'K' || i"},
		{"padded text", "char(9)", "'k' || i"},
		{"domain", "small", "i"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setupTrack(t, `CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false); CREATE DOMAIN small AS int`,
				`CREATE TABLE resources (key `+c.key+` PRIMARY KEY, v int)`, `INSERT INTO resources SELECT `+c.value+`, i FROM generate_series(1, 25) AS i`,
				`SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'key', scope_column => 'v', payload_columns => ARRAY['v'])`)
			var told []int64
			n, err := eventlog.Backfill(t.Context(), b.pool, "resource", eventlog.BackfillOptions{PageSize: 10, Progress: func(done int64) { told = append(told, done) }})
			if err != nil || n != 25 {
				t.Fatalf("%d rows, %v; want 25", n, err)
			}
			if want := []int64{10, 20, 25, 25}; !slices.Equal(told, want) {
				t.Errorf("progress %v; want %v", told, want)
			}
			var want []string
			err = b.pool.QueryRow(t.Context(), `SELECT array_agg(format('updated %s %s +0 +0 {"v": %s}', key::text, v, v) ORDER BY key) FROM resources`).Scan(&want)
			if err != nil {
				t.Fatal(err)
			}
			got := b.events(t)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("events %q; want %q", got, want)
			}
		})
	}
}

// Who reads the log can tell a backfill's events from an application's.
func TestBackfillIsMarked(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, docs, `INSERT INTO docs VALUES (1, 1, 5)`, trackDocs)
	if _, err := eventlog.Backfill(t.Context(), b.pool, "doc", eventlog.BackfillOptions{}); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE docs SET size = size`)
	b.exec(t, `INSERT INTO docs VALUES (2, 1, 5)`)
	b.exec(t, `SELECT casq.tick(true)`)
	reader := eventlog.NewReader(b.pool, 0)
	p, err := reader.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	batch, err := reader.Next(t.Context(), p)
	var bulk []string
	for _, e := range batch.Events {
		if e.Bulk {
			bulk = append(bulk, e.ResourceID)
		}
	}
	if err != nil || len(batch.Events) != 2 || !slices.Equal(bulk, []string{"1"}) {
		t.Errorf("of %d events those of %q are marked, %v; want that of 1, of two", len(batch.Events), bulk, err)
	}
}

func TestBackfillGoesOnAfterAnError(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, partitionedTable, `INSERT INTO artifacts (path) SELECT chr(96 + i) FROM generate_series(1, 26) AS i`, trackArtifacts)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := eventlog.Backfill(ctx, b.pool, "artifact", eventlog.BackfillOptions{PageSize: 10, Progress: func(int64) { cancel() }})
	var stopped *eventlog.BackfillError
	if !errors.As(err, &stopped) || !errors.Is(err, context.Canceled) || stopped.After != "j" || stopped.Done != 10 {
		t.Fatalf("got %v, %+v; want canceled after j", err, stopped)
	}
	n, err := eventlog.Backfill(t.Context(), b.pool, "artifact", eventlog.BackfillOptions{PageSize: 10, After: stopped.After})
	if err != nil || n != 16 || len(b.events(t)) != 26 {
		t.Fatalf("%d rows more, %v; want 16, and 26 events", n, err)
	}
}

func TestBackfillRefuses(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, plainTable, `INSERT INTO artifacts (path) VALUES ('')`, trackArtifacts)
	if _, err := eventlog.Backfill(t.Context(), b.pool, "unknown", eventlog.BackfillOptions{}); !errors.Is(err, eventlog.ErrNotTracked) {
		t.Errorf("unknown kind: %v", err)
	}
	_, err := eventlog.Backfill(t.Context(), b.pool, "artifact", eventlog.BackfillOptions{})
	wantRefused(t, err, "kind artifact", "1 to 1024 bytes")
	for _, level := range []pgx.TxIsoLevel{pgx.RepeatableRead, pgx.Serializable} {
		err := pgx.BeginTxFunc(t.Context(), b.pool, pgx.TxOptions{IsoLevel: level}, func(tx pgx.Tx) error {
			return run(t.Context(), tx, `SELECT casq.backfill_page('artifact', NULL, 10)`)
		})
		wantRefused(t, err, "READ COMMITTED")
	}
}

// newest returns the payload of the newest event of a key.
func (b *trackBundle) newest(t *testing.T, key string) (payload string) {
	t.Helper()
	err := b.pool.QueryRow(t.Context(), `SELECT payload::text FROM casq.events WHERE resource_id = $1 ORDER BY id DESC LIMIT 1`, key).Scan(&payload)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// openWriter updates a row in a transaction that stays open, so its event has
// been appended and cannot be seen yet.
func (b *trackBundle) openWriter(t *testing.T) pgx.Tx {
	t.Helper()
	writer, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { writer.Rollback(context.Background()) })
	if err := run(t.Context(), writer, `UPDATE artifacts SET sha = 'new' WHERE path = 'b'`); err != nil {
		t.Fatal(err)
	}
	return writer
}

const (
	threeRows = `INSERT INTO artifacts VALUES ('a', 1, 1, 'old'), ('b', 1, 1, 'old'), ('c', 1, 1, 'old')`
	waiting   = `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`
)

// An open writer has appended its event before the page appends its own. What
// the page appends must not be older.
func TestBackfillWaitsForOpenWriters(t *testing.T) {
	t.Parallel()
	t.Run("for key share", func(t *testing.T) {
		t.Parallel()
		b := setupTrack(t, plainTable, threeRows, trackArtifacts)
		writer := b.openWriter(t)
		b.exec(t, `INSERT INTO casq.events (kind, resource_id, op, payload)
			SELECT 'artifact', r.path, 'updated', jsonb_build_object('sha', r.sha, 'size', r.size)
			FROM (SELECT * FROM artifacts ORDER BY path FOR KEY SHARE) AS r`)
		if err := writer.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := b.newest(t, "b"); got != `{"sha": "old", "size": 1}` {
			t.Errorf("newest payload %s; want the old one, for that is what goes wrong", got)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		b := setupTrack(t, plainTable, threeRows, trackArtifacts)
		writer := b.openWriter(t)
		done := make(chan error, 1)
		go func() {
			_, err := eventlog.Backfill(t.Context(), b.pool, "artifact", eventlog.BackfillOptions{})
			done <- err
		}()
		b.until(t, waiting)
		// Nobody waits for the page: it has given back what it locked.
		if err := run(t.Context(), b.pool, `SET lock_timeout = '5s'; UPDATE artifacts SET size = 2 WHERE path IN ('a', 'c')`); err != nil {
			t.Fatalf("update beside a backfill that waits: %v", err)
		}
		if err := writer.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := wait(t, done); err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]string{"a": `{"sha": "old", "size": 2}`, "b": `{"sha": "new", "size": 1}`} {
			if got := b.newest(t, key); got != want {
				t.Errorf("newest payload of %s is %s; want %s", key, got, want)
			}
		}
	})
}

// A writer that holds one row of a page and then wants another: with a page
// that waits while it holds rows, one of the two is ended as a deadlock.
func TestBackfillEndsNobodysTransaction(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, plainTable, threeRows, trackArtifacts)
	writer := b.openWriter(t)
	done := make(chan error, 1)
	go func() {
		_, err := eventlog.Backfill(t.Context(), b.pool, "artifact", eventlog.BackfillOptions{})
		done <- err
	}()
	b.until(t, waiting)
	if err := run(t.Context(), writer, `UPDATE artifacts SET sha = 'new'`); err != nil {
		t.Fatalf("the writer's second update: %v", err)
	}
	if err := writer.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, done); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b", "c"} {
		if got := b.newest(t, key); got != `{"sha": "new", "size": 1}` {
			t.Errorf("newest payload of %s is %s", key, got)
		}
	}
}

// Rows that move, go and come back while they are waited for.
func TestBackfillOfRowsThatMove(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, plainTable, threeRows, `INSERT INTO artifacts VALUES ('d', 1, 1, 'old'), ('e', 1, 1, 'old')`, trackArtifacts)
	writer := b.openWriter(t)
	err := run(t.Context(), writer, `UPDATE artifacts SET path = 'z' WHERE path = 'a'; DELETE FROM artifacts WHERE path = 'c';
		DELETE FROM artifacts WHERE path = 'd'; INSERT INTO artifacts VALUES ('d', 2, 2, 'again')`)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := eventlog.Backfill(t.Context(), b.pool, "artifact", eventlog.BackfillOptions{PageSize: 2})
		done <- err
	}()
	b.until(t, waiting)
	if err := writer.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, done); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `INSERT INTO casq.events (kind, resource_id, op, scope_id, size_delta, item_delta) VALUES ('artifact', 'a', 'deleted', 1, 5, 5)`)
	b.wantExact(t)
}
