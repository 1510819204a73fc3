package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/migrations"

	"github.com/jackc/pgx/v5/pgxpool"
)

const upgradeLimit = time.Minute

// A site is upgraded while an application writes: the next version migrates, works
// beside the present one, and takes its place. Nothing is lost, and nobody waits.
//
// The next version is this program, built with one migration more: `go build -overlay`
// puts that among those that are embedded. An older commit of this repository, built to
// be the present version, would be missing where a clone has no history, and would stay
// behind what the schema is until the first release.
func TestUpgradeUnderLoad(t *testing.T) {
	t.Parallel()
	long.Test(t)
	s := newUpgrade(t)
	first, second := s.worker(t, os.Args[0]), s.worker(t, os.Args[0])
	first.await(t, `"msg":"worker started"`)
	second.await(t, `"msg":"worker started"`)
	stopWriting := s.write(t)
	s.synced(t)

	next := nextVersion(t)
	if out, err := s.command(next, "migrate", "up").CombinedOutput(); err != nil {
		t.Fatalf("migrate: %v: %s", err, out)
	}
	first.await(t, `"msg":"home was migrated, going on beside newer workers"`)
	newer := s.worker(t, next)
	newer.await(t, `"msg":"worker started"`)
	await.Row(t, upgradeLimit, s.pool, fmt.Sprintf(`SELECT array_agg(DISTINCT schema_version ORDER BY schema_version) = '{%d,%d}' FROM casq.live_workers`,
		migrations.Latest(), migrations.Latest()+1))
	s.synced(t)
	if code := first.stop(t); code != 0 {
		t.Errorf("the present version ended with %d", code)
	}
	s.synced(t)

	// The release after that takes away what the present version uses. Whoever still is
	// there ends, and says why.
	s.exec(t, fmt.Sprintf("UPDATE casq.installation SET oldest_program = %d", migrations.Latest()+1))
	second.await(t, `"msg":"home was migrated, stopping"`)
	second.ended(t, 3, "check home: database is newer than this program: it is at version")
	late := s.worker(t, os.Args[0])
	late.ended(t, 3, fmt.Sprintf("and needs one that knows %d, the program knows %d; run a newer program", migrations.Latest()+1, migrations.Latest()))
	s.synced(t)
	stopWriting()
	s.compare(t)
	if code := newer.stop(t); code != 0 {
		t.Errorf("the next version ended with %d", code)
	}
}

// nextVersion builds it, with the flags that this test was built with.
func nextVersion(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	later, err := filepath.Abs("testdata/upgrade/later.sql")
	if err != nil {
		t.Fatal(err)
	}
	among, err := filepath.Abs(fmt.Sprintf("../../migrations/%03d_later.sql", migrations.Latest()+1))
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {among: later}})
	if err != nil {
		t.Fatal(err)
	}
	file, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "worker")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"build", "-overlay", file, "-ldflags", "-X main.version=v9.9.9", "-o", program}, raceFlag...)
	if out, err := exec.CommandContext(t.Context(), "go", append(args, ".")...).CombinedOutput(); err != nil {
		t.Fatalf("build the next version: %v: %s", err, out)
	}
	return program
}

// upgrade is a site: a tracked table, and folders.
type upgrade struct {
	url            string
	pool           *pgxpool.Pool
	source, target string
}

func newUpgrade(t *testing.T) *upgrade {
	t.Helper()
	db := testdb.New(t)
	s := &upgrade{url: db.URL, pool: db.Pool(t), source: t.TempDir(), target: t.TempDir()}
	s.exec(t, `CREATE TABLE public.files (path text PRIMARY KEY, project int NOT NULL, size int NOT NULL, sha256 text NOT NULL)`)
	s.exec(t, `SELECT casq.track('public.files', kind => 'file', transfer => 'file', prefix => '', key_column => 'path',
		scope_column => 'project', size_column => 'size', payload_columns => ARRAY['sha256'])`)
	return s
}

func (s *upgrade) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := s.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// write has an application write until it is stopped: files come, and the oldest go. It
// fails when a statement takes longer than an application would put up with.
func (s *upgrade) write(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; err == nil && ctx.Err() == nil; i++ {
			if err = s.writeOne(ctx, i); err == nil && i >= 50 {
				err = s.within(ctx, "DELETE FROM public.files WHERE path = $1", fmt.Sprintf("%d.txt", i-50))
			}
		}
		if ctx.Err() != nil {
			err = nil
		}
		done <- err
	}()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the application was kept from writing: %v", err)
		}
	}
}

func (s *upgrade) writeOne(ctx context.Context, i int) error {
	path, content := fmt.Sprintf("%d.txt", i), fmt.Sprintln("content", i)
	if err := os.WriteFile(filepath.Join(s.source, path), []byte(content), 0o644); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(content))
	return s.within(ctx, "INSERT INTO public.files VALUES ($1, $2, $3, $4)", path, i%3, len(content), hex.EncodeToString(sum[:]))
}

// within is longer than a migration waits for a table, and shorter than an outage.
func (s *upgrade) within(ctx context.Context, sql string, args ...any) error {
	limited, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := s.pool.Exec(limited, sql, args...)
	return err
}

// synced returns when ten more of the newest files are in place.
func (s *upgrade) synced(t *testing.T) {
	t.Helper()
	var newest int64
	if err := s.pool.QueryRow(t.Context(), "SELECT coalesce(max(event_id), 0) FROM casq.registry").Scan(&newest); err != nil {
		t.Fatal(err)
	}
	await.Row(t, upgradeLimit, s.pool, fmt.Sprintf(
		"SELECT count(*) >= 10 FROM casq.registry WHERE event_id > %d AND synced_version = version", newest))
}

// compare wants in place what the table names, each resource once and nothing else, and
// the counters to be its sums.
func (s *upgrade) compare(t *testing.T) {
	t.Helper()
	await.Row(t, upgradeLimit, s.pool, `SELECT (SELECT coalesce(array_agg(path ORDER BY path COLLATE "C"), '{}') FROM public.files)
		= (SELECT coalesce(array_agg(resource_id ORDER BY resource_id), '{}') FROM casq.registry WHERE deleted_at IS NULL AND synced_version = version)
		AND NOT EXISTS (SELECT FROM casq.registry WHERE synced_version IS DISTINCT FROM version)
		AND NOT EXISTS ((SELECT project::text, sum(size), count(*) FROM public.files GROUP BY 1)
			EXCEPT (SELECT scope_id, size, items FROM casq.statistics))`)
	var want int
	if err := s.pool.QueryRow(t.Context(), "SELECT count(*) FROM public.files").Scan(&want); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(s.target, "*.txt"))
	if err != nil || len(files) != want {
		t.Errorf("%d files in place, %v; want %d", len(files), err, want)
	}
	for _, file := range files {
		got, err := os.ReadFile(file)
		if want := fmt.Sprintln("content", strings.TrimSuffix(filepath.Base(file), ".txt")); err != nil || string(got) != want {
			t.Errorf("%s has %q, %v", file, got, err)
		}
	}
}

func (s *upgrade) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...) //nolint:noctx // it is stopped by a signal
	cmd.Args[0] = "worker"                // as which this test's program is the worker
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=10", "DATABASE_URL="+s.url,
		"ARTIFACT_SOURCE_URL="+s.source, "ARTIFACT_TARGET_URL="+s.target, "CLAIM_TTL=3s", "CURSOR_WAIT=100ms")
	return cmd
}

// running is a worker's process, and its log.
type running struct {
	cmd *exec.Cmd
	log string
	end chan error
}

func (s *upgrade) worker(t *testing.T, program string) *running {
	t.Helper()
	r := &running{cmd: s.command(program, "run"), log: filepath.Join(t.TempDir(), "log"), end: make(chan error, 1)}
	log, err := os.Create(r.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r.cmd.Stderr = log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { r.end <- r.cmd.Wait() }()
	t.Cleanup(func() { _ = r.cmd.Process.Kill() })
	return r
}

func (r *running) said(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(r.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (r *running) await(t *testing.T, text string) {
	t.Helper()
	await.True(t, upgradeLimit, text, func() bool { return strings.Contains(r.said(t), text) })
}

func (r *running) stop(t *testing.T) (code int) {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return exitCode(t, await.Value(t, upgradeLimit, "the worker to end", r.end))
}

// ended wants a worker to end by itself, with a code and a sentence.
func (r *running) ended(t *testing.T, code int, sentence string) {
	t.Helper()
	got := exitCode(t, await.Value(t, upgradeLimit, "the worker to end", r.end))
	if said := r.said(t); got != code || !strings.Contains(said, sentence) {
		t.Errorf("ended with %d, and said %s; want %d, and %s", got, said, code, sentence)
	}
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if err != nil && !ok {
		t.Fatal(err)
	}
	if exit == nil {
		return 0
	}
	return exit.ExitCode()
}
