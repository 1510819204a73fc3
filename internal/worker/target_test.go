package worker

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/transfer"

	"github.com/jackc/pgx/v5/pgxpool"
)

// targetBundle is a home with one target of files, and no worker.
type targetBundle struct {
	pool           *pgxpool.Pool
	source, target string
	w              *worker
}

func setupTarget(t *testing.T) *targetBundle {
	t.Helper()
	b := &targetBundle{pool: testdb.New(t).Pool(t), source: t.TempDir(), target: t.TempDir()}
	b.w = b.worker(b.pool)
	return b
}

// worker is one of the site, or, with another home, of another site.
func (b *targetBundle) worker(home *pgxpool.Pool) *worker {
	return &worker{home: home, log: slog.New(slog.DiscardHandler), roles: newRoles(),
		cfg: Config{ArtifactSource: b.source, ArtifactTarget: b.target}}
}

// start opens folders as a worker does at its start.
func (b *targetBundle) start(t *testing.T, w *worker) error {
	t.Helper()
	m, err := w.openMovers(t.Context())
	if err != nil {
		return err
	}
	return m.close()
}

func (b *targetBundle) mustStart(t *testing.T) {
	t.Helper()
	if err := b.start(t, b.w); err != nil {
		t.Fatal(err)
	}
}

func (b *targetBundle) refused(t *testing.T, w *worker, says string) {
	t.Helper()
	err := b.start(t, w)
	if !errors.Is(err, transfer.ErrElsewhere) || !strings.Contains(err.Error(), says) {
		t.Fatalf("got %v, want it to say %q", err, says)
	}
}

func (b *targetBundle) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := b.pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

func (b *targetBundle) markFile() string { return filepath.Join(b.target, ".casq", "target") }

// empty makes the target what it is when nothing is mounted.
func (b *targetBundle) empty(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(b.target, ".casq")); err != nil {
		t.Fatal(err)
	}
}

// A target is the one that home and the mark agree on; else it is refused, in
// words that tell what to do.
func TestTheIdentityOfATarget(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(t *testing.T, b *targetBundle){
		"first use, and again": func(t *testing.T, b *targetBundle) { t.Helper(); b.mustStart(t); b.mustStart(t) },
		"a folder with files": func(t *testing.T, b *targetBundle) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(b.target, "file"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			b.mustStart(t)
		},
		"not mounted": func(t *testing.T, b *targetBundle) {
			t.Helper()
			b.mustStart(t)
			b.empty(t)
			b.refused(t, b.w, "casq.replace_target('file')")
		},
		"not mounted, and no row any more": func(t *testing.T, b *targetBundle) {
			t.Helper()
			b.mustStart(t)
			b.empty(t)
			b.exec(t, "DELETE FROM casq.registry")
			b.refused(t, b.w, "has no mark")
		},
		"replaced by an operator": func(t *testing.T, b *targetBundle) {
			t.Helper()
			b.mustStart(t)
			b.empty(t)
			b.exec(t, "SELECT casq.replace_target('file')")
			b.mustStart(t)
			b.mustStart(t)
		},
		"another site's": func(t *testing.T, b *targetBundle) {
			t.Helper()
			if err := b.start(t, b.worker(testdb.New(t).Pool(t))); err != nil {
				t.Fatal(err)
			}
			b.refused(t, b.w, "another site")
		},
		"of repositories": func(t *testing.T, b *targetBundle) {
			t.Helper()
			b.mustStart(t)
			other := b.worker(b.pool)
			other.cfg = Config{RepositorySource: b.source, RepositoryTarget: b.target}
			b.refused(t, other, "names file")
		},
		"killed before the mark": func(t *testing.T, b *targetBundle) {
			t.Helper()
			b.exec(t, "INSERT INTO casq.targets (transfer, id, place) VALUES ('file', gen_random_uuid(), 'here')")
			b.mustStart(t)
			b.empty(t)
			b.refused(t, b.w, "has no mark")
		},
		"killed after the mark": func(t *testing.T, b *targetBundle) {
			t.Helper()
			b.mustStart(t)
			b.exec(t, "UPDATE casq.targets SET marked_at = NULL")
			b.mustStart(t)
			b.empty(t)
			b.refused(t, b.w, "has no mark")
		},
		"home has lost its row": func(t *testing.T, b *targetBundle) {
			t.Helper()
			b.mustStart(t)
			b.exec(t, "DELETE FROM casq.targets")
			b.mustStart(t)
			b.empty(t)
			b.refused(t, b.w, "has no mark")
		},
		"spoiled": func(t *testing.T, b *targetBundle) {
			t.Helper()
			b.mustStart(t)
			if err := os.WriteFile(b.markFile(), []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
			b.refused(t, b.w, "not a mark")
		},
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t, setupTarget(t)) })
	}
}

// Of many workers that start at once all have the same target.
func TestManyFirstStartsMakeOneMark(t *testing.T) {
	t.Parallel()
	b := setupTarget(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := b.start(t, b.w); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	text, err := os.ReadFile(b.markFile())
	if err != nil {
		t.Fatal(err)
	}
	var mark transfer.Mark
	if err := json.Unmarshal(text, &mark); err != nil {
		t.Fatal(err)
	}
	var same bool
	err = b.pool.QueryRow(t.Context(), "SELECT id = $1 AND marked_at IS NOT NULL FROM casq.targets", mark.ID).Scan(&same)
	if err != nil || !same {
		t.Errorf("home has another id: %v", err)
	}
}

// A running worker is not ready while its target is away, works on when it is
// back, and takes another one when an operator says so.
func TestARunningWorkerAndItsTarget(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t, func(cfg *Config) { cfg.HTTPAddr = "127.0.0.1:0" })
	b.until(t, "", func() bool { return b.log.addr() != "" })
	addr := b.log.addr()
	b.put(t, "a", "one")
	b.until(t, "a", func() bool { return b.status(t, "a") == "synced" })
	b.until(t, "ready", func() bool { return strings.Contains(readyz(t, addr), `"ready":true`) })
	moved := b.target + ".moved"
	rename(t, b.target, moved)
	if err := os.Mkdir(b.target, 0o755); err != nil {
		t.Fatal(err)
	}
	b.until(t, "it is told", func() bool { return strings.Contains(readyz(t, addr), "is missing") })
	b.put(t, "b", "two")
	b.exec(t, "DELETE FROM artifacts WHERE path = 'a'")
	for _, key := range []string{"a", "b"} {
		b.until(t, key, func() bool {
			return b.count(t, "resource_id = '"+key+"' AND last_error LIKE '%another folder has the name%'") == 1
		})
	}
	if entries, err := os.ReadDir(b.target); err != nil || len(entries) > 0 {
		t.Errorf("the empty folder has got %v (%v)", entries, err)
	}

	b.exec(t, "SELECT casq.replace_target('file')")
	b.until(t, "ready again", func() bool { return strings.Contains(readyz(t, addr), `"ready":true`) })
	b.put(t, "b", "two and more")
	b.until(t, "b", func() bool { return b.inPlace("b", "two and more") && b.status(t, "b") == "synced" })
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func readyz(t *testing.T, addr string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+"/readyz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// addr is where the worker listens, once it has said so.
func (l *testLog) addr() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, rest, _ := strings.Cut(l.said.String(), "msg=listening addr=")
	addr, _, _ := strings.Cut(rest, "\n")
	return addr
}
