package races

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"casq/internal/testing/testdb"
	"casq/jobs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// shortTTL is a claim's time-out in this race, which has to see several of them.
const shortTTL = time.Second

// TestR16LongWork: a copy outlasts time-out, claim and an outage.
//
// One worker is in the middle of a copy, another one is idle and watches it.
// The copy outlives River's own limit for a job (set to a tenth of a second
// here, a minute otherwise) and three times a claim's time-out. Then the database is
// killed, and stays away for longer than a claim's time-out: nobody can beat, and
// nobody may conclude anything from that. When the copy ends at last it has
// been made once, by the worker that began it.
func TestR16LongWork(t *testing.T) {
	t.Parallel()
	t.Run("twin/job_time-out", func(t *testing.T) {
		t.Parallel()
		twinJobTimeout(t)
	})
	t.Run("twin/lease_in_the_row", func(t *testing.T) {
		t.Parallel()
		twinLeaseInTheRow(t)
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		playLongWork(t)
	})
}

func playLongWork(t *testing.T) {
	t.Helper()
	cluster := testdb.NewCluster(t)
	s := newSiteAt(t, cluster.URL(), testdb.Pool(t, cluster.URL()))
	s.follow(t)
	reached, release := make(chan struct{}), make(chan struct{})
	begin := sync.OnceFunc(func() { close(reached); <-release })
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	cfg := s.config(t, "long")
	cfg.ClaimTTL, cfg.TestJobTimeout = shortTTL, 100*time.Millisecond
	cfg.Hook = func(point string) {
		if point == "begin:made" {
			begin()
		}
	}
	long := startLocal(t, cfg)
	t.Cleanup(letGo) // before the worker is stopped
	s.put(t, "a", "bytes")
	waitFor(t, reached, "the copy begins")

	cfg.Hook = nil
	cfg.Logger = logTo(t, "idle")
	idle := startLocal(t, cfg)
	s.untilBeats(t, 2, 9) // each is a third of a time-out
	processes := s.processes(t)
	outage(t, cluster, shortTTL*3/2)
	s.untilBeats(t, 2, 9+6)
	letGo()

	s.untilSynced(t, fileKind, "a")
	if got := s.processes(t); got != processes {
		t.Errorf("the processes are %s, and were %s: one was taken for dead", got, processes)
	}
	long.stop(t)
	idle.stop(t)
	s.wantFiles(t, map[string]string{"a": "bytes"})
	if long, idle := long.times("work:claimed"), idle.times("work:claimed"); long != 1 || idle != 0 {
		t.Errorf("the long worker claimed %d times and the idle one %d times, want 1 and 0", long, idle)
	}
	if n := long.times("copy:staged") + idle.times("copy:staged"); n != 1 {
		t.Errorf("%d copies were made", n)
	}
	if n := s.count(t, "SELECT count(*) FROM river.river_job WHERE attempt > 1 OR kind <> 'casq_sync'"); n != 0 {
		t.Errorf("%d jobs were tried again", n)
	}
	if n := s.count(t, "SELECT count(*) FROM river.river_job"); n != 1 {
		t.Errorf("there are %d jobs, want the one", n)
	}
}

func waitFor(t *testing.T, reached <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-reached:
	case <-time.After(takeoverPatience):
		t.Fatalf("waited in vain: %s", what)
	}
}

// untilBeats waits until n processes live, each of which has beaten so often.
func (s *site) untilBeats(t *testing.T, n, beats int64) {
	t.Helper()
	s.until(t, "the workers beat", func() bool {
		return s.count(t, "SELECT count(*) FROM casq.processes WHERE dead_at IS NULL AND beat >= $1", beats) >= n
	})
}

func (s *site) processes(t *testing.T) (ids string) {
	t.Helper()
	if err := s.pool.QueryRow(t.Context(), "SELECT string_agg(id::text, ' ' ORDER BY id) FROM casq.processes").Scan(&ids); err != nil {
		t.Fatal(err)
	}
	return ids
}

// outage kills the database and starts it again when it has been away for so
// long.
func outage(t *testing.T, cluster *testdb.Cluster, away time.Duration) {
	t.Helper()
	if err := cluster.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	over := time.NewTimer(away) // what lasts is the fault itself
	defer over.Stop()
	<-over.C
	if err := cluster.Primary.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

type naiveArgs struct{}

func (naiveArgs) Kind() string { return "naive" }

// twinJobTimeout is a worker that sets no limit of its own.
func twinJobTimeout(t *testing.T) {
	t.Helper()
	pool := testdb.New(t).Pool(t)
	cut := make(chan error, 1)
	workers := river.NewWorkers()
	river.AddWorker(workers, river.WorkFunc(func(ctx context.Context, _ *river.Job[naiveArgs]) error {
		<-ctx.Done() // a copy that lasts for ever
		cut <- context.Cause(ctx)
		return river.JobCancel(ctx.Err())
	}))
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Schema: jobs.Schema, Logger: slog.New(slog.DiscardHandler), Workers: workers,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}}, JobTimeout: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Stop(context.Background()) })
	if _, err := client.Insert(t.Context(), naiveArgs{}, nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-cut:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the work ended with %v, want the job's time-out", err)
		}
	case <-time.After(takeoverPatience):
		t.Error("the work was not cut")
	}
}

// twinLeaseInTheRow is a claim that lives until a time in its row, which its
// holder moves on as long as it can reach the database.
func twinLeaseInTheRow(t *testing.T) {
	t.Helper()
	cluster := testdb.NewCluster(t)
	pool := testdb.Pool(t, cluster.URL())
	if _, err := pool.Exec(t.Context(), "CREATE TABLE naive (holder text, until timestamptz)"); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(t.Context(), "INSERT INTO naive VALUES ('long', clock_timestamp() + $1)", shortTTL); err != nil {
		t.Fatal(err)
	}
	if takeLease(t, pool) {
		t.Fatal("the lease was free at once")
	}
	outage(t, cluster, shortTTL*3/2)
	if !takeLease(t, pool) {
		t.Error("the lease is still the first one's: there is no second copy")
	}
}

func takeLease(t *testing.T, pool *pgxpool.Pool) bool {
	t.Helper()
	var taken bool
	for {
		err := pool.QueryRow(t.Context(), `WITH taken AS (UPDATE naive SET holder = 'idle' WHERE until < clock_timestamp() RETURNING 1)
			SELECT count(*) > 0 FROM taken`).Scan(&taken)
		if err == nil || errors.Is(err, pgx.ErrNoRows) {
			return taken
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}
