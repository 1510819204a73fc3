package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// testBundle is one site: a database with a tracked table, a source folder, a
// target folder, and a worker that copies from one to the other.
type testBundle struct {
	url            string
	pool           *pgxpool.Pool
	source, target string
	log            *testLog
}

const (
	artifactsTable = `CREATE TABLE public.artifacts (
		id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, project_id bigint NOT NULL,
		path text NOT NULL UNIQUE, size bigint NOT NULL, sha256 text NOT NULL)`
	trackArtifacts = `SELECT casq.track('public.artifacts', kind => 'artifact', transfer => 'file', prefix => '', key_column => 'path',
		scope_column => 'project_id', size_column => 'size', payload_columns => ARRAY['id', 'sha256'])`
)

func setup(t *testing.T, change ...func(*Config)) *testBundle {
	t.Helper()
	db := testdb.New(t)
	b := &testBundle{url: db.URL, pool: db.Pool(t), source: t.TempDir(), target: t.TempDir(), log: &testLog{t: t}}
	b.exec(t, artifactsTable)
	b.exec(t, trackArtifacts)
	cfg := Config{
		HomeURL: workerURL(t, db), ArtifactSource: b.source, ArtifactTarget: b.target,
		ClaimTTL: 3 * time.Second, CursorWait: 100 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(b.log, nil)),
	}
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("worker: %v", err)
		}
		if b.log.has("SQLSTATE 42501") {
			t.Error("something is not granted to workers")
		}
	})
	return b
}

// workerURL is the database for a role that owns nothing and may do what is granted to
// workers: all that workers do in these tests they do as such a one.
func workerURL(t *testing.T, db *testdb.DB) string {
	t.Helper()
	url := db.RoleURL(t)
	if _, err := db.Pool(t).Exec(t.Context(), "SELECT casq.grant_to($1::text::regrole, 'worker')", testdb.RoleName(t, url)); err != nil {
		t.Fatal(err)
	}
	return url
}

// testLog writes to the test's log.
//
// mu guards said.
type testLog struct {
	t    *testing.T
	mu   sync.Mutex
	said strings.Builder
}

func (l *testLog) Write(p []byte) (int, error) {
	l.t.Log(string(p))
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.Write(p)
}

// has tells whether something was logged.
func (l *testLog) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.said.String(), text)
}

// count is how many rows of the registry meet a condition.
func (b *testBundle) count(t *testing.T, condition string) (n int) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), "SELECT count(*) FROM casq.registry WHERE "+condition).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (b *testBundle) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := b.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// put writes a file at the source and its row, as an application would.
func (b *testBundle) put(t *testing.T, path, content string) {
	t.Helper()
	full := filepath.Join(b.source, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(content))
	b.exec(t, `INSERT INTO public.artifacts (project_id, path, size, sha256) VALUES (1, $1, $2, $3)
		ON CONFLICT (path) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256`,
		path, len(content), hex.EncodeToString(sum[:]))
}

// until polls for a condition, and says why a resource is not there yet when it
// gives up.
func (b *testBundle) until(t *testing.T, key string, met func() bool) {
	t.Helper()
	defer func() {
		if t.Failed() {
			var why string
			_ = b.pool.QueryRow(t.Context(), "SELECT casq.why('artifact', $1)", key).Scan(&why)
			t.Log(why)
		}
	}()
	await.True(t, 20*time.Second, key+" is there", met)
}

func (b *testBundle) status(t *testing.T, key string) (status string) {
	t.Helper()
	err := b.pool.QueryRow(t.Context(), `SELECT coalesce((SELECT status FROM casq.registry_status
		WHERE kind = 'artifact' AND resource_id = $1), 'none')`, key).Scan(&status)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func (b *testBundle) inPlace(path, content string) bool {
	got, err := os.ReadFile(filepath.Join(b.target, path))
	return err == nil && string(got) == content
}

func TestAFileFollowsItsRow(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	const key = "builds/42/out.zip"
	for _, content := range []string{"first", "second, longer", ""} {
		b.put(t, key, content)
		b.until(t, key, func() bool { return b.inPlace(key, content) && b.status(t, key) == "synced" })
	}
	b.exec(t, "DELETE FROM artifacts WHERE path = $1", key)
	b.until(t, key, func() bool { return b.status(t, key) == "removed" })
	// The run tidies up after its commit.
	b.until(t, key, func() bool {
		entries, err := os.ReadDir(b.target)
		return err == nil && len(entries) == 1 && entries[0].Name() == ".casq"
	})
}

// What is in place before its first copy, and is what it should be, is not
// copied: the source has other bytes. A resync copies it.
func TestAFileThatIsInPlaceAlreadyIsAdopted(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	const key = "there"
	for folder, content := range map[string]string{b.target: "bytes", b.source: "wrong"} {
		path, written := filepath.Join(folder, key), time.Unix(1e9, 0)
		if err := errors.Join(os.WriteFile(path, []byte(content), 0o644), os.Chtimes(path, written, written)); err != nil {
			t.Fatal(err)
		}
	}
	sum := sha256.Sum256([]byte("bytes"))
	b.exec(t, `INSERT INTO artifacts (project_id, path, size, sha256) VALUES (1, $1, 5, $2)`, key, hex.EncodeToString(sum[:]))
	b.until(t, key, func() bool { return b.status(t, key) == "synced" })
	if !b.inPlace(key, "bytes") {
		t.Error("it is not in place any more")
	}
	b.exec(t, "SELECT casq.touch('artifact', $1)", key)
	b.until(t, key, func() bool {
		return b.count(t, "event_id = (SELECT max(id) FROM casq.events) AND synced_version = version") == 1
	})
	b.exec(t, "UPDATE artifacts SET sha256 = encode(sha256('other'), 'hex') WHERE path = $1", key)
	b.until(t, key, func() bool { return b.count(t, "last_error LIKE 'changed at the source%'") == 1 })
}
