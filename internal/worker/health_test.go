package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/jobs"
)

// health is the sentence, as home has it.
func (b *testBundle) health(t *testing.T) (sentence string) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), "SELECT casq.health_sentence()").Scan(&sentence); err != nil {
		t.Fatal(err)
	}
	return sentence
}

// untilHealthy waits until the site says that it is well.
func (b *testBundle) untilHealthy(t *testing.T) {
	t.Helper()
	await.Nil(t, 20*time.Second, "health", func() error {
		if got := b.health(t); got != "ok" {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

// A site that is well says so, with something to do and without.
func TestHealthOfASiteThatIsWell(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.untilHealthy(t)
	b.put(t, "a/b", "text")
	b.until(t, "a/b", func() bool { return b.inPlace("a/b", "text") })
	b.untilHealthy(t)
}

// untilProblem waits until the site has a problem.
func (b *testBundle) untilProblem(t *testing.T, want string) {
	t.Helper()
	await.Nil(t, 20*time.Second, want, func() error {
		var found []string
		err := b.pool.QueryRow(t.Context(), "SELECT array_agg(concat_ws(': ', severity, what)) FROM casq.health()").Scan(&found)
		if err == nil && !slices.Contains(found, want) {
			err = fmt.Errorf("there is %q", found)
		}
		return err
	})
}

// Real faults are told, and that they are over.
func TestHealthTellsFaults(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.untilHealthy(t)

	b.exec(t, "INSERT INTO casq.events (kind, resource_id, op) VALUES ('unheard', 'a', 'created')")
	b.untilProblem(t, "warning: 1 events of kind unheard could not be applied")
	b.exec(t, "UPDATE casq.event_failures SET replayed_at = now()") // as enqueue replay does
	b.untilHealthy(t)

	b.exec(t, "INSERT INTO public.artifacts (project_id, path, size, sha256) VALUES (1, 'missing', 1, repeat('0', 64))")
	b.untilProblem(t, "warning: 1 of 1 resources of kind artifact have failed")
	b.exec(t, "DELETE FROM public.artifacts")
	b.untilHealthy(t)

	queue, err := jobs.NewQueue(b.pool, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := queue.Pause(t.Context(), "artifact"); err != nil {
		t.Fatal(err)
	}
	b.put(t, "a", "text")
	b.untilProblem(t, "warning: queue artifact is paused, and has jobs")
	if err := queue.Resume(t.Context(), "artifact"); err != nil {
		t.Fatal(err)
	}
	b.until(t, "a", func() bool { return b.inPlace("a", "text") })
	b.untilHealthy(t)

	stuck, err := b.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Release()
	if _, err := stuck.Exec(t.Context(), "SELECT pg_advisory_lock(hashtextextended('casq.tick', 0))"); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "UPDATE casq.ticks SET taken_at = taken_at - interval '31 s'") // time passes
	b.untilProblem(t, "critical: no tick is taken here: nothing that is written is seen")
	if _, err := stuck.Exec(t.Context(), "SELECT pg_advisory_unlock_all()"); err != nil {
		t.Fatal(err)
	}
	b.untilHealthy(t)
}

// A worker that stops is not taken to run, and one whose folder is another's says so to home.
func TestAWorkersRow(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db := testdb.New(t)
	b := &testBundle{url: db.URL, pool: db.Pool(t), source: t.TempDir(), target: t.TempDir(), log: &testLog{t: t}}
	b.exec(t, artifactsTable)
	b.exec(t, trackArtifacts)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{
			HomeURL: db.URL, ArtifactSource: b.source, ArtifactTarget: b.target, Version: "1.2.3",
			ClaimTTL: 3 * time.Second, Logger: slog.New(slog.NewTextHandler(b.log, nil)),
		})
	}()
	b.untilHealthy(t)
	await.Row(t, 20*time.Second, b.pool, "SELECT count(*) > 0 FROM casq.workers WHERE version = '1.2.3' AND 'artifact' = ANY (queues) AND roles ? 'sync'")
	if err := os.Rename(b.target, b.target+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(b.target, 0o755); err != nil {
		t.Fatal(err)
	}
	await.Row(t, 20*time.Second, b.pool, "SELECT count(*) > 0 FROM casq.workers WHERE roles -> 'folders' ->> 'error' LIKE '%.casq/target%'")
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := b.health(t); !strings.HasPrefix(got, "critical: no worker is running, since ") || !strings.HasSuffix(got, " (worker run)") {
		t.Errorf("without a worker it is %q", got)
	}
}

// A probe gives up after a second. What it decides is whether this worker is ready, and the
// sentence of the site must not decide it by being late.
func TestReadyzDoesNotWaitForHealth(t *testing.T) {
	t.Parallel()
	var listening <-chan string
	b := setup(t, func(cfg *Config) { listening = serving(cfg) })
	addr := await.Value(t, 30*time.Second, "the address", listening)
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LOCK TABLE casq.event_failures"); err != nil {
		t.Fatal(err)
	}
	took := time.Duration(0)
	until(t, "ready", func() bool {
		began := time.Now()
		ready := strings.HasPrefix(readyz(t, addr), `{"ready":true`)
		took = time.Since(began)
		return ready
	})
	if took > time.Second {
		t.Errorf("while home cannot say how it is, a probe is answered after %v", took)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "told again", func() bool { return strings.Contains(readyz(t, addr), `"health":"`) })
}
