package races

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/testdb"
	"casq/internal/worker"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// key is the resource that the registry's races are about.
const key = "builds/42/out.zip"

// patience is for what should take milliseconds, and never waits for a
// time-out: claims live for an hour here unless a race says otherwise.
const patience = 20 * time.Second

// registrySite is a database with a tracked table of files, the folder that
// they are in, and the folder that they are copied to.
type registrySite struct {
	url            string
	pool           *pgxpool.Pool
	source, target string
}

func newRegistrySite(t *testing.T) *registrySite {
	t.Helper()
	db := testdb.New(t)
	s := &registrySite{url: db.URL, pool: db.Pool(t), source: t.TempDir(), target: t.TempDir()}
	execute(t, s.pool, `CREATE TABLE artifacts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		path text NOT NULL UNIQUE, size bigint NOT NULL, sha256 text NOT NULL)`)
	execute(t, s.pool, `SELECT casq.track('artifacts', kind => 'artifact', transfer => 'file', prefix => '', key_column => 'path',
		size_column => 'size', payload_columns => ARRAY['sha256'])`)
	return s
}

// write writes the file.
func (s *registrySite) write(t *testing.T, content string) {
	t.Helper()
	file := filepath.Join(s.source, key)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// put writes the file and its row, as an application does.
func (s *registrySite) put(t *testing.T, content string) {
	t.Helper()
	s.write(t, content)
	sum := sha256.Sum256([]byte(content))
	_, err := s.pool.Exec(t.Context(), `INSERT INTO artifacts (path, size, sha256) VALUES ($1, $2, $3)
		ON CONFLICT (path) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256`,
		key, len(content), hex.EncodeToString(sum[:]))
	if err != nil {
		t.Fatal(err)
	}
}

// remove deletes the row and the file.
func (s *registrySite) remove(t *testing.T) {
	t.Helper()
	execute(t, s.pool, `DELETE FROM artifacts`)
	if err := os.Remove(filepath.Join(s.source, key)); err != nil {
		t.Fatal(err)
	}
}

// row is the resource's row in the registry, as far as the races look at it.
type registryRow struct {
	Version    int64
	Synced     *int64
	Status     string
	Claim      *uuid.UUID
	Asked      bool
	Attempts   int
	Failed     *int64
	LastError  *string
	RetryAt    *time.Time
	UnderWay   int // jobs that have not ended, of any version
	NewestJobs int // those of the row's version
}

// row returns the zero row while there is none.
func (s *registrySite) row(t *testing.T) registryRow {
	t.Helper()
	rows, err := s.pool.Query(t.Context(), `SELECT r.version, r.synced_version, s.status, r.claim, r.asked, r.attempts,
		r.failed_version, r.last_error, r.retry_at, j.all, j.newest
		FROM casq.registry AS r JOIN casq.registry_status AS s USING (kind, resource_id)
		CROSS JOIN LATERAL (SELECT count(*) AS all, count(*) FILTER (WHERE (args ->> 'version')::bigint = r.version) AS newest
			FROM river.river_job WHERE finalized_at IS NULL) AS j`)
	if err != nil {
		t.Fatal(err)
	}
	row, err := pgx.CollectOneRow(rows, pgx.RowToStructByPos[registryRow])
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		t.Fatal(err)
	}
	return row
}

// until polls for a condition, and says what the resource waits for when it gives
// up.
func (s *registrySite) until(t *testing.T, what string, met func() bool) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("%s; on disk: %v", lines(t, s.pool, `SELECT casq.why('artifact', '`+key+`')`), s.files(t))
		}
	}()
	await.True(t, patience, what, met)
}

// reaches waits until the resource has the status and nothing else is on disk than
// these bytes; "": nothing at all, also no staging.
func (s *registrySite) reaches(t *testing.T, status, content string) {
	t.Helper()
	want := map[string]string{}
	if content != "" {
		want[key] = content
	}
	s.until(t, status+" with "+content, func() bool {
		return s.row(t).Status == status && maps.Equal(s.files(t), want)
	})
}

// files are all below the target, staging included, with their content; but not
// the mark by which the target is known again.
func (s *registrySite) files(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(s.target, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil //nolint:nilerr // it went while we looked; the next look will tell
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // likewise
		}
		name, err := filepath.Rel(s.target, path)
		if name != ".casq/target" {
			found[name] = string(content)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// inPlace is what an application would read; "" when there is nothing.
func (s *registrySite) inPlace(t *testing.T) string { return s.files(t)[key] }

// work runs a worker until the test ends. Its claims outlive the test.
func (s *registrySite) work(t *testing.T, points *points, change ...func(*worker.Config)) {
	t.Helper()
	cfg := worker.Config{
		HomeURL: s.url, ArtifactSource: s.source, ArtifactTarget: s.target,
		ClaimTTL: time.Hour, CursorWait: 100 * time.Millisecond,
		Logger: raceLog(t), Hook: points.hook,
	}
	for _, f := range change {
		f(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx, cfg) }()
	t.Cleanup(func() {
		points.releaseAll()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("worker: %v", err)
		}
	})
}

// raceLog writes to the test's log, which is shown when it fails.
func raceLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(raceWriter{t}, nil))
}

type raceWriter struct{ t *testing.T }

func (w raceWriter) Write(p []byte) (int, error) {
	w.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}
