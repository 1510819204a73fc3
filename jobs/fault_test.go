package jobs

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"casq/eventlog"
	"casq/internal/testing/faultproxy"
	"casq/registry"
	"casq/transfer"
	"casq/transfer/file"

	"github.com/riverqueue/river/rivertype"
)

// faultBundle is a worker that copies real files, and whose steps can be made to
// fail, by name of a point, before or after they are done.
//
// mu guards armed.
type faultBundle struct {
	*workBundle
	network        *faultproxy.Network
	source, target string
	attempt        int

	mu    sync.Mutex
	armed map[string]func()
}

func setupFaults(t *testing.T) *faultBundle {
	t.Helper()
	b := &faultBundle{
		workBundle: &workBundle{testBundle: setup(t), stopping: make(chan struct{})},
		network:    faultproxy.New(), source: t.TempDir(), target: t.TempDir(), armed: map[string]func(){},
	}
	pool := b.network.Pool(t, b.pool.Config().ConnString())
	source, err := file.OpenSource(b.source, b.log)
	if err != nil {
		t.Fatal(err)
	}
	files, err := file.Open(file.Config{Source: source, Target: b.target, TestHook: b.hook})
	if err != nil {
		t.Fatal(err)
	}
	b.process = registry.NewProcess(registry.ProcessConfig{Pool: b.pool, Queue: b.queue, Logger: b.log})
	if err := b.process.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(b.process.Stop(context.Background()), files.Close()); err != nil {
			t.Error(err)
		}
	})
	b.worker = New(Config{
		Registry: registry.New(registry.Config{Pool: pool, Jobs: b.queue, Logger: b.log, Hook: b.hook}, b.process),
		Process:  b.process, Queue: b.queue, Logger: b.log, Stopping: b.stopping, Hook: b.hook,
		Transfers: map[string]Transfer{eventlog.TransferFile: files},
	})
	return b
}

// hook does what is armed at a point, once.
func (b *faultBundle) hook(point string) {
	b.mu.Lock()
	f := b.armed[point]
	delete(b.armed, point)
	b.mu.Unlock()
	if f != nil {
		f()
	}
}

// run is one run of the newest version's job, as River would call it.
func (b *faultBundle) run(t *testing.T) error {
	t.Helper()
	b.attempt++
	return b.worker.recovered(t.Context(), func() error {
		return b.worker.work(t.Context(), &rivertype.JobRow{ID: 5, Attempt: b.attempt, MaxAttempts: 25}, b.token)
	})
}

// files are all below the target, with their content; staged files are counted apart.
func (b *faultBundle) files(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(b.target, func(path string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.Name() == transfer.StagingRoot {
			return fs.SkipDir
		}
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(b.target, path)
		found[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// staged is how many runs have left staging.
func (b *faultBundle) staged(t *testing.T) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(b.target, ".casq", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(found)
}

// Each durable step of a run fails, or is done and said to have failed. Then the
// row never says more than what is on disk, no claim is left, and the next run,
// which comes in any case, does the rest.
func TestFaultsOfARun(t *testing.T) {
	t.Parallel()
	breaks := func(*testing.T, *faultBundle) func() { return func() { panic("broken") } }
	cut := func(t *testing.T, b *faultBundle) func() {
		return func() {
			_, err := b.pool.Exec(context.Background(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = current_database() AND pid <> pg_backend_pid()`)
			if err != nil {
				t.Error(err)
			}
		}
	}
	loseCommit := func(_ *testing.T, b *faultBundle) func() { return func() { b.network.LoseAnswer("commit") } }
	for name, fault := range map[string]struct {
		point, removePoint string
		what               func(*testing.T, *faultBundle) func()
		healed             bool // within the run
	}{
		"claim failed":                  {"work:fetched", "work:fetched", cut, true},
		"begin persisted":               {"begin:made", "begin:made", breaks, false},
		"copy persisted":                {"copy:staged", "", breaks, false},
		"rename failed":                 {"publish:before-rename", "remove:before-rename", breaks, false},
		"rename persisted":              {"publish:renamed", "remove:renamed", breaks, false},
		"lock failed":                   {"copy:staged", "begin:made", cut, true},
		"commit failed, rename was not": {"complete:published", "complete:published", cut, true},
		"commit persisted":              {"complete:published", "complete:published", loseCommit, true},
	} {
		for _, op := range []eventlog.Op{eventlog.Created, eventlog.Updated, eventlog.Deleted} {
			point := fault.point
			if op == eventlog.Deleted {
				point = fault.removePoint
			}
			if point == "" {
				continue
			}
			t.Run(name+", "+string(op), func(t *testing.T) {
				t.Parallel()
				b := setupFaults(t)
				before, after := b.resource(t, op)
				b.mu.Lock()
				b.armed[point] = fault.what(t, b)
				b.mu.Unlock()
				err := b.run(t)
				b.mu.Lock()
				if len(b.armed) > 0 {
					t.Fatal("the fault did not happen")
				}
				b.mu.Unlock()
				b.consistent(t, err, before, after)
				if fault.healed != (err == nil) {
					t.Errorf("River is told %v", err)
				}
				if err != nil {
					err = b.run(t)
				}
				b.consistent(t, err, before, after)
				if got := b.state(t); err != nil || got.status != "synced" && got.status != "removed" || got.lastError != "" {
					t.Errorf("after the next run: %+v, %v", got, err)
				}
				if n := b.staged(t); n > 0 {
					t.Errorf("%d runs left staging", n)
				}
			})
		}
	}
}

// resource makes the resource whose newest version is the op's, with all before it
// done, and returns what is in place now, and what has to be.
func (b *faultBundle) resource(t *testing.T, op eventlog.Op) (before, after map[string]string) {
	t.Helper()
	write := func(content string) map[string]string {
		if err := os.WriteFile(filepath.Join(b.source, "x"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return map[string]string{"x": content}
	}
	before, after = map[string]string{}, write("first")
	b.token = b.event(t, 1, eventlog.Created)
	if op == eventlog.Created {
		return before, after
	}
	if err := b.run(t); err != nil {
		t.Fatal(err)
	}
	b.attempt = 0
	before = after
	if op == eventlog.Updated {
		after = write("second")
	} else {
		after = map[string]string{}
	}
	b.token = b.event(t, 2, op)
	return before, after
}

// consistent compares the row, the disk and what River was told.
func (b *faultBundle) consistent(t *testing.T, told error, before, after map[string]string) {
	t.Helper()
	row, disk := b.state(t), b.files(t)
	done := row.status == "synced" || row.status == "removed"
	switch {
	case row.claimed:
		t.Errorf("a claim is left: %+v", row)
	case done && !maps.Equal(disk, after):
		t.Errorf("%s, and on disk is %v", row.status, disk)
	case !maps.Equal(disk, before) && !maps.Equal(disk, after):
		t.Errorf("on disk is %v", disk)
	case !done && (told == nil || row.status != "failed" || !row.retries || row.lastError == ""):
		t.Errorf("nobody goes on: %+v, River is told %v", row, told)
	}
}
