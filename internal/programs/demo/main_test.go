package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"casq/internal/testing/expect"
	"casq/internal/testing/testdb"
	"casq/internal/worker"
)

// TestMain is also the worker program of the demos under test.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "run" {
		os.Exit(runWorker())
	}
	testdb.Main(m)
}

func runWorker() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	env := make(map[string]string)
	for _, variable := range exec.CommandContext(ctx, "true").Environ() {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	err := worker.Run(ctx, worker.Config{
		HomeURL: env["DATABASE_URL"], SourceURL: env["SOURCE_DATABASE_URL"], RedisURL: env["REDIS_URL"],
		ArtifactSource: env["ARTIFACT_SOURCE_URL"], ArtifactTarget: env["ARTIFACT_TARGET_URL"],
		RunnerAddr: env["RUNNER_ADDR"], RunnerArtifacts: env["RUNNER_ARTIFACT_URL"],
		RepositorySource: env["REPOSITORY_SOURCE_URL"], RepositoryTarget: env["REPOSITORY_TARGET_DIR"],
		Logger: log,
	})
	if err != nil {
		log.Error("worker ended", "err", err)
		return 1
	}
	return 0
}

// testBundle is a demo of a small source that a test looks into.
type testBundle struct {
	t      *testing.T
	config config
	source string
	// places that must not be there any more when the demo has ended.
	mu     sync.Mutex
	places []string
	out    bytes.Buffer
}

func setup(t *testing.T) *testBundle {
	t.Helper()
	b := &testBundle{t: t, source: filepath.Join(t.TempDir(), "source")}
	b.write("top", "at the top")
	b.write("empty", "")
	b.write("lib/a", strings.Repeat("a", 5000))
	b.write("lib/deep/er/b", "b")
	b.write("docs/read me", "with a blank")
	for i := range 30 {
		b.write("many/"+string(rune('a'+i)), strings.Repeat("x", i*i))
	}
	own := filepath.Join(t.TempDir(), "own")
	b.repository(own)
	self, err := os.Executable()
	must(t, err)
	b.config = config{
		Worker: self, Source: b.source, Repository: own, temporary: shortTemp(t),
		Out: &b.out, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	return b
}

// shortTemp is a folder whose name leaves room for a socket's, and which the
// servers' user can reach.
func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "casq-test-") //nolint:usetesting // t.TempDir is too long, and closed to other users
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chmod(dir, 0o711)) // other users only pass through
	return dir
}

// skipShort leaves out what is not the main path: a demo takes some seconds.
func skipShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("a whole demo")
	}
}

var must = expect.NoError

func (b *testBundle) write(path, text string) {
	b.t.Helper()
	path = filepath.Join(b.source, path)
	must(b.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(b.t, os.WriteFile(path, []byte(text), 0o644))
}

// repository makes one with two branches, a tag and a detached work tree.
func (b *testBundle) repository(dir string) {
	b.t.Helper()
	must(b.t, os.MkdirAll(dir, 0o755))
	b.git(dir, "init", "--quiet")
	b.git(dir, "commit", "--quiet", "--allow-empty", "-m", "first")
	b.git(dir, "branch", "side")
	b.git(dir, "tag", "-a", "-m", "tag", "v1")
}

func (b *testBundle) git(dir string, args ...string) {
	b.t.Helper()
	cmd := exec.CommandContext(b.t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.invalid", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.invalid")
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.t.Fatalf("git %v: %v: %s", args, err, out)
	}
}

// at calls f when the demo comes to a point.
func (b *testBundle) at(point string, f func(d *demo)) {
	before := b.config.hook
	b.config.hook = func(reached string, d *demo) {
		if before != nil {
			before(reached, d)
		}
		if reached == point {
			f(d)
		}
	}
}

// run runs the demo and looks whether anything is left of it.
func (b *testBundle) run(ctx context.Context) (string, error) {
	b.t.Helper()
	var pids []int
	b.at(pointFollowing, func(d *demo) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.places = append(b.places, d.work.dir, d.primary.Primary.Dir(), d.primary.Standbys[0].Dir(), d.second.Primary.Dir(), d.primary.Redis.Dir())
		for _, worker := range d.workers {
			pids = append(pids, worker.Pid())
		}
	})
	err := run(ctx, b.config)
	b.t.Logf("output:\n%s", b.out.String())
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, pid := range pids {
		if syscall.Kill(pid, 0) == nil {
			b.t.Errorf("worker %d still runs", pid)
		}
	}
	if !b.config.Keep {
		for _, place := range b.places {
			if _, statErr := os.Lstat(place); statErr == nil {
				b.t.Errorf("%s is left", place)
			}
		}
		entries, readErr := os.ReadDir(b.config.temporary)
		must(b.t, readErr)
		if len(entries) > 0 {
			b.t.Errorf("left in the temporary folder: %v", entries)
		}
	}
	return b.out.String(), err
}
