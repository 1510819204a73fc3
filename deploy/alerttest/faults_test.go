package alerttest

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/runnertest"
	"casq/internal/testing/testdb"
	"casq/internal/worker"
	"casq/jobs"
	"casq/runner"

	"github.com/jackc/pgx/v5"
)

// wants asserts which alerts a tape has. Those that may follow from the same fault, if the
// worker is quick to notice, need not.
func (t *tape) wants(tb *testing.T, want []string, may ...string) {
	tb.Helper()
	fired := t.fired(tb, rules(tb))
	for _, name := range slices.Sorted(maps.Keys(fired)) {
		tb.Logf("%s fires after %v", name, fired[name])
		if !slices.Contains(want, name) && !slices.Contains(may, name) {
			tb.Errorf("%s fires, and is not about this", name)
		}
	}
	for _, name := range want {
		if _, told := fired[name]; !told {
			tb.Errorf("%s does not fire", name)
		}
	}
}

// healthy is a site's first half hour.
func healthy(s *site) *tape {
	s.t.Helper()
	t := newTape()
	first := s.both()
	t.goes(first, s.both(), 30*time.Minute)
	return t
}

// waiting are the ages of what waits to be copied.
var waiting = []string{
	"casq_replication_lag_seconds", "casq_replication_stage_lag_seconds", "casq_registry_oldest_seconds", "casq_queue_oldest_seconds",
}

func setup(t *testing.T, change ...func(*worker.Config)) *site {
	t.Helper()
	t.Parallel()
	return start(t, testdb.New(t).URL, change...)
}

func TestNoAlertWhileNothingHappens(t *testing.T) {
	s := setup(t)
	tape := healthy(s)
	tape.goes(s.both(), s.both(), time.Hour)
	tape.wants(t, nil)
}

func TestNoAlertUnderLoad(t *testing.T) {
	s := setup(t)
	tape := healthy(s)
	before := s.both()
	for part := range 4 {
		for i := range 50 {
			s.put(fmt.Sprintf("%d-%d", part, i), strings.Repeat("x", i), false)
		}
		after := s.both() // while they are copied
		tape.goes(before, after, 15*time.Minute)
		before = after
	}
	s.until("SELECT count(*) = 200 FROM casq.registry WHERE synced_version = version")
	tape.goes(before, s.both(), time.Hour)
	tape.wants(t, nil)
}

func TestNoWorker(t *testing.T) {
	s := setup(t)
	tape := healthy(s)
	s.stop()
	tape.now = tape.now.Add(10 * time.Minute) // no scrape is answered
	tape.wants(t, []string{"CasqNoWorker"})
}

// The observer is a worker that neither takes ticks nor follows the log.
func TestNobodyTakesTicksOrFollows(t *testing.T) {
	s := setup(t)
	tape := healthy(s)
	s.stop()
	tape.stays(s.observe(), 10*time.Minute, "casq_tick_age_seconds", "casq_cursor_beat_age_seconds", "casq_process_oldest_beat_seconds")
	tape.wants(t, []string{"CasqNoTick", "CasqCursorSilent"}, "CasqCritical")
}

func TestHomeIsFrozenAndASlotIsLeft(t *testing.T) {
	t.Parallel()
	long.Test(t)
	c := testdb.NewCluster(t)
	s := start(t, c.URL())
	tape := healthy(s)
	// One that a standby has left, which is not there any more.
	if err := c.Primary.Exec(t.Context(), "SELECT pg_create_physical_replication_slot('gone', true)"); err != nil {
		t.Fatal(err)
	}
	for range 18 { // of 16 MiB
		if err := c.Primary.Exec(t.Context(), "SELECT pg_logical_emit_message(false, '', ''), pg_switch_wal()"); err != nil {
			t.Fatal(err)
		}
	}
	tape.stays(s.observe(), 20*time.Minute)
	tape.wants(t, []string{"CasqSlotBehind"})
	if err := c.Primary.Exec(t.Context(), "SELECT pg_drop_replication_slot('gone')"); err != nil {
		t.Fatal(err)
	}

	tape = healthy(s)
	told := s.both()
	if err := c.Primary.Freeze(); err != nil {
		t.Fatal(err)
	}
	for key, p := range s.scrape() {
		if p.name() == ageOfSamples {
			told[key] = p
		}
	}
	tape.stays(told, 3*time.Minute, ageOfSamples)
	tape.stays(told.blind(), 10*time.Minute, ageOfSamples)
	if err := c.Primary.Thaw(); err != nil {
		t.Fatal(err)
	}
	tape.wants(t, []string{"CasqBlind"})
}

func TestQueueIsPaused(t *testing.T) {
	s := setup(t)
	tape := healthy(s)
	queue, err := jobs.NewQueue(s.pool, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	await.Nil(t, patience, "the queue is paused", func() error { return queue.Pause(t.Context(), "file") })
	s.put("late", "", false)
	s.until("SELECT EXISTS (SELECT FROM casq.registry WHERE synced_version IS NULL)")
	tape.stays(s.both(), 20*time.Minute, waiting...)
	tape.wants(t, []string{"CasqLag", "CasqLagCritical"}, "CasqCritical")
}

// No worker has a target for repositories.
func TestQueueIsNotServed(t *testing.T) {
	s := setup(t)
	tape := healthy(s)
	s.exec("SELECT casq.define_kind('repo', 'git')")
	s.exec("SELECT casq.append_event('repo', 'a.git', 'created')")
	s.until("SELECT EXISTS (SELECT FROM casq.registry WHERE kind = 'repo')")
	tape.stays(s.both(), 20*time.Minute, waiting...)
	tape.wants(t, []string{"CasqQueueSlow", "CasqNothingDone", "CasqLag", "CasqLagCritical"}, "CasqCritical")
}

func TestRunsFail(t *testing.T) {
	s := setup(t)
	tape := healthy(s)
	before := s.both()
	for i := range 10 {
		s.put(fmt.Sprint("good", i), "x", false)
		s.put(fmt.Sprint("bad", i), "x", true)
	}
	s.until("SELECT count(*) FILTER (WHERE synced_version = version) = 10 AND count(*) FILTER (WHERE failed_version = version) = 10 FROM casq.registry")
	tape.goes(before, s.both(), 15*time.Minute)
	tape.wants(t, []string{"CasqFailures"})
}

func TestTargetIsGone(t *testing.T) {
	s := setup(t)
	tape := healthy(s)
	if err := os.Rename(s.target, s.target+".away"); err != nil {
		t.Fatal(err)
	}
	await.True(t, patience, "the worker has noticed", func() bool {
		for _, p := range s.scrape() {
			if p.name() == "casq_role_ready" && p.value == 0 {
				return true
			}
		}
		return false
	})
	tape.stays(s.both(), 10*time.Minute)
	tape.wants(t, []string{"CasqRoleNotReady"}, "CasqCritical")
}

// There are runners, and no worker has an address for them.
func TestProblemIsCritical(t *testing.T) {
	s := setup(t)
	tape := healthy(s)
	s.exec("SELECT casq.create_runner('waits for builds')")
	s.exec("UPDATE casq.workers SET started_at = started_at - interval '1 minute'") // one that begins is given time
	s.until("SELECT EXISTS (SELECT FROM casq.health() WHERE severity = 'critical')")
	tape.stays(s.both(), 10*time.Minute)
	tape.wants(t, []string{"CasqCritical"})
}

// One of two workers is cut off from home when it has seen a problem, which is over soon. If
// it told of that for ever, the alert would never end.
func TestWorkerThatIsCutOffHoldsNoAlertUp(t *testing.T) {
	s := setup(t)
	well := s.observe().of("well")
	s.exec("SELECT casq.create_runner('waits for builds')")
	s.until("SELECT EXISTS (SELECT FROM casq.health() WHERE severity = 'critical')")
	seen := s.observe()
	tape, naive := newTape(), newTape()
	tape.stays(well.and(seen), 3*time.Minute)
	tape.stays(well.and(seen.blind()), 30*time.Minute)
	tape.wants(t, []string{"CasqWorkerCutOff"})
	naive.stays(well.and(seen), 33*time.Minute)
	naive.wants(t, []string{"CasqCritical"})
}

func TestEventIsDeadLettered(t *testing.T) {
	s := setup(t)
	tape := healthy(s)
	s.exec("INSERT INTO casq.events (kind, resource_id, op) VALUES ('nobody_knows', 'a', 'created')")
	s.until("SELECT EXISTS (SELECT FROM casq.event_failures)")
	tape.stays(s.both(), 10*time.Minute)
	tape.wants(t, []string{"CasqDeadLetters"})
}

func TestCountersDrift(t *testing.T) {
	// Of a shard that is chosen at random some counters are compared.
	s := setup(t, func(cfg *worker.Config) { cfg.CounterCheckInterval, cfg.CounterShards = 200*time.Millisecond, 1 })
	s.put("a", "12345", false)
	s.until("SELECT EXISTS (SELECT FROM casq.counters WHERE items = 1)")
	s.until("SELECT EXISTS (SELECT FROM casq.scans WHERE compare AND finished_at IS NOT NULL)")
	tape := healthy(s)
	before := s.both()
	s.exec("UPDATE casq.counters SET items = items + 1") // by hand
	var after scraped
	await.True(t, patience, "it is found", func() bool {
		after = s.both()
		for _, p := range after {
			if p.name() == "casq_counters_drift_total" && p.value > 0 {
				return true
			}
		}
		return false
	})
	tape.goes(before, after, 5*time.Minute)
	tape.wants(t, []string{"CasqCounterDrift"})
}

// A runner that takes a build and is not heard of again.
func TestBuildIsNotBegun(t *testing.T) {
	s := setup(t, func(cfg *worker.Config) { cfg.RunnerAddr = "127.0.0.1:0" })
	tape := healthy(s)
	c := runnertest.New(t, s.pool, runner.Options{StartWithin: time.Hour})
	err := pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		_, _, err := runner.Enqueue(t.Context(), tx, runner.Pipeline{Project: 7, Builds: []runner.Build{
			{Name: "build", Job: json.RawMessage(`{"steps":[{"name":"script","script":["true"]}]}`)},
		}})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if a := c.Request(runnertest.Runner(t, s.pool), ""); a.Build() == 0 {
		t.Fatalf("no build was handed out: %v", a)
	}
	tape.stays(s.both(), 10*time.Minute, "casq_build_oldest_seconds")
	tape.wants(t, []string{"CasqBuildNotBegun"}, "CasqCritical")
}

// Nobody fills a disk for a test: the free bytes that were scraped are divided.
func TestTargetIsFull(t *testing.T) {
	s := setup(t)
	tape := healthy(s)
	full := s.both()
	for key, p := range full {
		if p.name() == "casq_target_free_bytes" {
			p.value /= 1000
			full[key] = p
		}
	}
	tape.goes(full, full, 10*time.Minute)
	tape.wants(t, []string{"CasqTargetFull"})
}

func TestTransactionIsLeftOpen(t *testing.T) {
	s := setup(t)
	tape := healthy(s)
	tx, err := s.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(t.Context()) }()
	if _, err := tx.Exec(t.Context(), "CREATE TABLE public.mine ()"); err != nil {
		t.Fatal(err)
	}
	tape.stays(s.both(), 40*time.Minute, "casq_postgres_oldest_transaction_seconds", "casq_postgres_oldest_snapshot_transactions")
	tape.wants(t, []string{"CasqLongTransaction"})
}

// Autovacuum does not come, as while a snapshot is held.
func TestRowsOfJobsAreDead(t *testing.T) {
	s := setup(t)
	tape := healthy(s)
	s.exec("ALTER TABLE river.river_job SET (autovacuum_enabled = off)")
	s.exec(`INSERT INTO river.river_job (args, kind, max_attempts, state, finalized_at)
		SELECT '{}', 'casq_sync', 5, 'completed', now() FROM generate_series(1, 18000)`)
	for range 3 {
		s.exec("UPDATE river.river_job SET attempt = 1")
	}
	s.exec("SELECT pg_stat_force_next_flush()")
	s.until("SELECT n_dead_tup > 50000 FROM pg_stat_user_tables WHERE relname = 'river_job'")
	dead := s.both()
	tape.goes(dead, dead, 30*time.Minute)
	tape.wants(t, []string{"CasqDeadRows"})
}
