package eventlog_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/testing/await"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// touch touches an artifact in a transaction of its own.
func (b *trackBundle) touch(t *testing.T, kind, key string, level pgx.TxIsoLevel) error {
	t.Helper()
	return pgx.BeginTxFunc(t.Context(), b.pool, pgx.TxOptions{IsoLevel: level}, func(tx pgx.Tx) error {
		_, err := eventlog.Touch(t.Context(), tx, kind, key)
		return err
	})
}

// The event has what the row tells now, in a stranger's session, too.
func TestTouch(t *testing.T) {
	t.Parallel()
	for _, layout := range []struct{ name, table string }{{"plain", plainTable}, {"partitioned", partitionedTable}} {
		t.Run(layout.name, func(t *testing.T) {
			t.Parallel()
			b := setupTrack(t, layout.table, trackArtifacts, `INSERT INTO artifacts VALUES ('a', 1, 10, 's'); INSERT INTO artifacts (path) VALUES ('z')`)
			b.events(t)
			for _, level := range []pgx.TxIsoLevel{pgx.ReadCommitted, pgx.RepeatableRead, pgx.Serializable} {
				for _, key := range []string{"a", "z"} {
					if err := b.touch(t, "artifact", key, level); err != nil {
						t.Errorf("%s, %s: %v", level, key, err)
					}
				}
				b.wantEvents(t, `updated a 1 +0 +0 {"sha": "s", "size": 10}`, `updated z  +0 +0 {"sha": null, "size": null}`)
			}
			b.exec(t, `BEGIN; SET LOCAL search_path = pg_temp; SET LOCAL row_security = off; SET LOCAL enable_indexscan = off; INSERT INTO public.artifacts (path) VALUES ('n');
				SELECT casq.touch('artifact', 'n'); SELECT casq.touch('artifact', 'n'); COMMIT`)
			b.wantEvents(t, `created n  +0 +1 {"sha": null, "size": null}`, `updated n  +0 +0 {"sha": null, "size": null}`, `updated n  +0 +0 {"sha": null, "size": null}`)
			b.wantExact(t)
		})
	}
}

// Keys are compared as the log tells them: byte by byte, and only as the column's type
// writes its values.
func TestTouchFindsKeys(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		key, value string
		absent     []string
	}{
		"bigint":            {"bigint", "42", []string{"042", "+42", " 42", "x", "99999999999999999999", ""}},
		"uuid":              {"uuid", "5f0e2b0a-6a0a-4f9e-8f55-2d1c7d7f3a11", []string{"5F0E2B0A-6a0a-4f9e-8f55-2d1c7d7f3a11", "x"}},
		"text without case": {"text COLLATE nocase", "Key", []string{"key", "KEY"}},
		"padded text":       {"char(9)", "k", []string{"k        ", "K"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupTrack(t, `CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
				`CREATE TABLE resources (key `+c.key+` PRIMARY KEY)`, `INSERT INTO resources VALUES ('`+c.value+`')`,
				`SELECT casq.track('resources', kind => 'resource', transfer => 'git', key_column => 'key')`)
			if err := b.touch(t, "resource", c.value, pgx.ReadCommitted); err != nil {
				t.Error(err)
			}
			b.wantEvents(t, "updated "+c.value+" - +0 +0 {}")
			for _, key := range c.absent {
				if err := b.touch(t, "resource", key, pgx.ReadCommitted); !errors.Is(err, eventlog.ErrNoRow) {
					t.Errorf("%q: %v", key, err)
				}
			}
			b.wantEvents(t)
		})
	}
}

func TestTouchRefuses(t *testing.T) {
	t.Parallel()
	b := setupTrack(t, plainTable, trackArtifacts, `SELECT casq.define_kind('byhand', 'file')`)
	for kind, want := range map[string]error{"artifact": eventlog.ErrNoRow, "byhand": eventlog.ErrNotTracked, "nobodys": eventlog.ErrUnknownKind} {
		if err := b.touch(t, kind, "a", pgx.ReadCommitted); !errors.Is(err, want) {
			t.Errorf("%s: %v", kind, err)
		}
	}
	_, err := b.pool.Exec(t.Context(), "SELECT casq.touch(NULL, NULL)")
	wantRefused(t, err, "unknown kind NULL")
	_, err = b.pool.Exec(t.Context(), "SELECT casq.touch('artifact', NULL)")
	wantRefused(t, err, "no row with the key NULL")
}

// errOldSnapshot is the database's own serialization failure.
var errOldSnapshot = errors.New("old snapshot")

// An older image must not follow what a writer has told already, nor a row that is gone.
func TestTouchWaitsForWriters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		write string
		level pgx.TxIsoLevel
		want  error
		told  []string
	}{
		"an update":                  {`UPDATE artifacts SET sha = 'new' WHERE path = 'b'`, pgx.ReadCommitted, nil, []string{`updated b 1 +0 +0 {"sha": "new", "size": 1}`, `updated b 1 +0 +0 {"sha": "new", "size": 1}`}},
		"a delete":                   {`DELETE FROM artifacts WHERE path = 'b'`, pgx.ReadCommitted, eventlog.ErrNoRow, []string{`deleted b 1 -1 -1 {}`}},
		"a rename":                   {`UPDATE artifacts SET path = 'x' WHERE path = 'b'`, pgx.ReadCommitted, eventlog.ErrNoRow, []string{`deleted b 1 -1 -1 {}`, `created x 1 +1 +1 {"sha": "old", "size": 1}`}},
		"an update, an old snapshot": {`UPDATE artifacts SET sha = 'new' WHERE path = 'b'`, pgx.RepeatableRead, errOldSnapshot, []string{`updated b 1 +0 +0 {"sha": "new", "size": 1}`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupTrack(t, plainTable, threeRows, trackArtifacts)
			writer, err := b.pool.Begin(t.Context())
			if err == nil {
				err = run(t.Context(), writer, c.write)
			}
			if err != nil {
				t.Fatal(err)
			}
			touched := make(chan error, 1)
			go func() { touched <- b.touch(t, "artifact", "b", c.level) }()
			await.True(t, time.Minute, "the touch waits for the writer", func() bool {
				var waits bool
				return b.pool.QueryRow(t.Context(), waiting).Scan(&waits) == nil && waits
			})
			if err := writer.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			err = <-touched
			if database.Code(err) == "40001" {
				err = errOldSnapshot
			}
			if !errors.Is(err, c.want) {
				t.Error(err)
			}
			b.wantEvents(t, c.told...)
		})
	}
}

// A time alone tells of two changes as of one.
func TestTrackWarnsOfATimeAlone(t *testing.T) {
	t.Parallel()
	for options, warned := range map[string]int{
		`payload_columns => '{at}'`:                       1,
		`payload_columns => '{at, day}'`:                  1,
		`payload_columns => '{at}', every_update => true`: 0,
		`payload_columns => '{at}', size_column => 'n'`:   0,
		`payload_columns => '{at, n}'`:                    0,
		`payload_columns => '{}'`:                         0,
	} {
		b := setupTrack(t, `CREATE TABLE repos (path text PRIMARY KEY, at timestamptz, day date, n bigint)`)
		notices := b.notices(t, `SELECT casq.track('repos', kind => 'repo', transfer => 'git', key_column => 'path', `+options+`)`)
		if len(notices) != warned {
			t.Errorf("%s: %q", options, notices)
		}
	}
}

// notices returns what the server says beside the answer.
func (b *trackBundle) notices(t *testing.T, sql string) (said []string) {
	t.Helper()
	config := b.pool.Config().ConnConfig.Copy()
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { said = append(said, n.SeverityUnlocalized+" "+n.Message) }
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := run(t.Context(), conn, sql); err != nil {
		t.Fatal(err)
	}
	return said
}
