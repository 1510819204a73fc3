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
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/cursor"
	"casq/internal/testing/await"
	"casq/internal/testing/testdb"
	"casq/internal/testing/transfertest"
	"casq/internal/worker"
	"casq/jobs"
	"casq/registry"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	fileKind       = "artifact"
	repositoryKind = "repository"
)

// site is a database with a tracked table of files and one of repositories,
// the folders that they are copied from and to, and the log followed by this
// process, so that no worker that is frozen or killed keeps the log.
type site struct {
	url  string
	pool *pgxpool.Pool

	files, fileTarget              string
	repositories, repositoryTarget string
}

func newSite(t *testing.T) *site {
	t.Helper()
	db := testdb.New(t)
	return newSiteAt(t, db.URL, db.Pool(t))
}

func newSiteAt(t *testing.T, url string, pool *pgxpool.Pool) *site {
	t.Helper()
	s := &site{
		url: url, pool: pool,
		files: t.TempDir(), fileTarget: t.TempDir(), repositories: t.TempDir(), repositoryTarget: t.TempDir(),
	}
	s.exec(t, `CREATE TABLE public.artifacts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		project_id bigint NOT NULL DEFAULT 1, path text NOT NULL UNIQUE, size bigint NOT NULL, sha256 text NOT NULL)`)
	s.exec(t, `SELECT casq.track('public.artifacts', kind => 'artifact', transfer => 'file', prefix => '', key_column => 'path',
		scope_column => 'project_id', size_column => 'size', payload_columns => ARRAY['id', 'sha256'])`)
	s.exec(t, `CREATE TABLE public.repositories (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
		path text NOT NULL UNIQUE, pushes bigint NOT NULL DEFAULT 1)`)
	s.exec(t, `SELECT casq.track('public.repositories', kind => 'repository', transfer => 'git', prefix => '',
		key_column => 'path', payload_columns => ARRAY['id', 'pushes'])`)
	return s
}

// spec is a worker for this site in a process of its own, to be killed or
// frozen. It beats so slowly that it never takes anybody for dead, and its
// publications have all the time that they want. A process may be frozen right
// after it has looked at its beat or its deadline: no race may be won by them.
func (s *site) spec(at string, signal syscall.Signal) workerSpec {
	return workerSpec{
		At: at, Signal: signal, HomeURL: s.url,
		ArtifactSource: s.files, ArtifactTarget: s.fileTarget,
		RepositorySource: s.repositories, RepositoryTarget: s.repositoryTarget,
		ClaimTTL: time.Hour, PublishTimeout: time.Minute,
	}
}

// config is a worker for this site in this process.
func (s *site) config(t *testing.T, name string) worker.Config {
	cfg := s.spec("", 0).config(logTo(t, name))
	cfg.ClaimTTL, cfg.PublishTimeout = claimTTL, 0
	return cfg
}

// follow ticks and transposes in this process until the test ends, or stop is
// called.
func (s *site) follow(t *testing.T) (stop func()) {
	t.Helper()
	logger := slog.New(atWarn{logTo(t, "follower").Handler()})
	queue, err := jobs.NewQueue(s.pool, logger)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var group sync.WaitGroup
	group.Go(func() { (&eventlog.Ticker{Pool: s.pool, Logger: logger}).Run(ctx) })
	group.Go(func() {
		_ = cursor.New(cursor.Config{
			Name: "registry", Source: s.pool, Home: s.pool, Consumer: &registry.Transposer{Jobs: queue},
			Logger: logger, Wait: 20 * time.Millisecond,
		}).Run(ctx)
	})
	stop = sync.OnceFunc(func() {
		cancel()
		group.Wait()
	})
	t.Cleanup(stop)
	// Without a tick a cursor only looks now and then. From here on it is this
	// process that has the log, and no worker that is going to be frozen.
	s.exec(t, "SELECT casq.tick(force => true)")
	s.until(t, "the log is followed from here", func() bool {
		return s.count(t, `SELECT count(*) FROM casq.cursors AS c
			JOIN pg_stat_activity AS a ON a.pid = c.backend_pid AND a.backend_start = c.backend_start
			WHERE split_part(c.holder, '/', 2) = $1`, strconv.Itoa(os.Getpid())) > 0
	})
	return stop
}

type atWarn struct{ slog.Handler }

func (h atWarn) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (s *site) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := s.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func (s *site) count(t *testing.T, sql string, args ...any) (n int64) {
	t.Helper()
	if err := s.pool.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// put writes a file at the source and its row, as an application would.
func (s *site) put(t *testing.T, key, content string) {
	t.Helper()
	path := filepath.Join(s.files, key)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(content))
	s.exec(t, `INSERT INTO artifacts (path, size, sha256) VALUES ($1, $2, $3)
		ON CONFLICT (path) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256`,
		key, len(content), hex.EncodeToString(sum[:]))
}

// remove removes a file at the source and its row.
func (s *site) remove(t *testing.T, key string) {
	t.Helper()
	if err := os.Remove(filepath.Join(s.files, key)); err != nil {
		t.Fatal(err)
	}
	s.exec(t, "DELETE FROM artifacts WHERE path = $1", key)
}

// push makes main of a repository at the source a given commit, or a new one
// with the content when commit is "", and tells of it by the row. It returns
// the commit.
func (s *site) push(t *testing.T, key, content, commit string) string {
	t.Helper()
	dir := filepath.Join(s.repositories, key)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		runGit(t, s.repositories, "", "init", "--quiet", "--bare", "--initial-branch=main", dir)
	}
	if commit == "" {
		blob := runGit(t, dir, content, "hash-object", "-w", "--stdin")
		tree := runGit(t, dir, "100644 blob "+blob+"\tfile\n", "mktree")
		commit = runGit(t, dir, "", "commit-tree", "-m", content, tree)
	}
	runGit(t, dir, "", "update-ref", "refs/heads/main", commit)
	s.exec(t, `INSERT INTO repositories (path) VALUES ($1)
		ON CONFLICT (path) DO UPDATE SET pushes = repositories.pushes + 1`, key)
	return commit
}

// drop removes a repository at the source and its row.
func (s *site) drop(t *testing.T, key string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(s.repositories, key)); err != nil {
		t.Fatal(err)
	}
	s.exec(t, "DELETE FROM repositories WHERE path = $1", key)
}

// runGit runs git in a folder and returns what it prints.
func runGit(t *testing.T, dir, stdin string, args ...string) string {
	t.Helper()
	out, err := tryGit(t, dir, stdin, args...)
	if err != nil {
		t.Fatalf("git %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

func tryGit(t *testing.T, dir, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	cmd.Env = append(cmd.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir),
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@localhost", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@localhost")
	out, err := cmd.CombinedOutput()
	return string(bytes.TrimSpace(out)), err
}

// until waits for a condition.
func (s *site) until(t *testing.T, what string, met func() bool) {
	t.Helper()
	await.True(t, takeoverPatience, what, met)
}

// untilSynced waits until a resource's newest version is in place, and says why
// it is not.
func (s *site) untilSynced(t *testing.T, kind, key string) {
	t.Helper()
	defer func() {
		if t.Failed() {
			var why string
			_ = s.pool.QueryRow(context.WithoutCancel(t.Context()), "SELECT casq.why($1, $2)", kind, key).Scan(&why)
			t.Log(why)
		}
	}()
	s.until(t, key+" is synced", func() bool { return s.status(t, kind, key) == "synced" })
}

func (s *site) status(t *testing.T, kind, key string) (status string) {
	t.Helper()
	err := s.pool.QueryRow(t.Context(), `SELECT coalesce((SELECT status FROM casq.registry_status
		WHERE kind = $1 AND resource_id = $2), 'none')`, kind, key).Scan(&status)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func (s *site) version(t *testing.T, kind, key string) int64 {
	t.Helper()
	return s.count(t, "SELECT coalesce(max(version), 0) FROM casq.registry WHERE kind = $1 AND resource_id = $2", kind, key)
}

// changed does something that raises a resource's version, and returns when the
// registry has the new one.
func (s *site) changed(t *testing.T, kind, key string, change func()) {
	t.Helper()
	before := s.version(t, kind, key)
	change()
	s.until(t, key+" has a new version", func() bool { return s.version(t, kind, key) > before })
}

// endSessions ends the sessions that a frozen process left inside of a
// transaction, as the server does after some seconds.
func (s *site) endSessions(t *testing.T) {
	t.Helper()
	s.until(t, "a session is idle in a transaction", func() bool {
		return s.count(t, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'casq worker' AND state = 'idle in transaction'`) > 0
	})
}

// wantFiles compares all files below the target, byte by byte, with what there
// is to be, and the staging with nothing. Empty folders are too much as well.
func (s *site) wantFiles(t *testing.T, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(s.fileTarget, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.Name() == ".casq" {
			return filepath.SkipDir
		}
		if entry.IsDir() {
			if inside, err := os.ReadDir(path); len(inside) > 0 || err != nil || path == s.fileTarget {
				return err
			}
			got[strings.TrimPrefix(path, s.fileTarget+"/")+"/"] = "(empty folder)"
			return nil
		}
		content, err := os.ReadFile(path)
		got[strings.TrimPrefix(path, s.fileTarget+"/")] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, want) {
		t.Errorf("the target has %q, want %q", got, want)
	}
	wantNoStaging(t, s.fileTarget)
}

// wantNoStaging waits for the end of what follows a commit: a run removes its
// staging when its row says already that it is synced.
func wantNoStaging(t *testing.T, target string) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		entries := transfertest.StagedNames(t, target)
		if len(entries) == 0 {
			return
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Errorf("staging is left over: %v", entries)
			return
		}
	}
}

// file is what is in place of a file.
func (s *site) file(t *testing.T, key string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(s.fileTarget, key))
	if errors.Is(err, fs.ErrNotExist) {
		return "(nothing)"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// refsOf lists all refs of a repository and its HEAD.
func refsOf(t *testing.T, dir string) string {
	t.Helper()
	head, err := os.ReadFile(filepath.Join(dir, "HEAD"))
	if err != nil {
		return "(nothing)"
	}
	return runGit(t, dir, "", "for-each-ref", "--format=%(refname) %(objectname)") + "\nHEAD " + strings.TrimSpace(string(head))
}

// wantRepository compares a repository in place with its source, ref by ref,
// and looks whether all objects are there.
func (s *site) wantRepository(t *testing.T, key string) {
	t.Helper()
	want, got := refsOf(t, filepath.Join(s.repositories, key)), refsOf(t, filepath.Join(s.repositoryTarget, key))
	if got != want {
		t.Errorf("repository %s has\n%s\nwant\n%s", key, got, want)
	}
	runGit(t, filepath.Join(s.repositoryTarget, key), "", "fsck", "--connectivity-only")
}

// main is where refs/heads/main of the repository in place is.
func (s *site) main(t *testing.T) string {
	t.Helper()
	return runGit(t, filepath.Join(s.repositoryTarget, theRepository), "", "rev-parse", "refs/heads/main")
}

// hasObject tells whether the repository in place has an object.
func (s *site) hasObject(t *testing.T, key, object string) bool {
	t.Helper()
	_, err := tryGit(t, filepath.Join(s.repositoryTarget, key), "", "cat-file", "-e", object)
	return err == nil
}
