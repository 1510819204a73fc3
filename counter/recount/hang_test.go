package recount

import (
	"context"
	"errors"
	"maps"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"casq/internal/database"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
	"casq/internal/testing/testredis"

	"github.com/jackc/pgx/v5/pgxpool"
)

// hanging is a recount, first on a standby that hangs from a point on.
type hanging struct {
	*testBundle
	cluster *testdb.Cluster
	point   string
	hang    func()
}

func newHanging(t *testing.T, standby func(cluster *testdb.Cluster) *pgxpool.Pool) *hanging {
	t.Helper()
	h := &hanging{cluster: testdb.NewCluster(t, testdb.Standbys(1))}
	h.testBundle = setupAt(t, h.cluster.URL(), testredis.Start(t), func(c *settings) {
		c.Standbys = []*pgxpool.Pool{standby(h.cluster)}
		c.Hook = func(point string) {
			if h.hang != nil && point == h.point {
				h.hang()
				h.hang = nil
			}
		}
	})
	h.hostPatience = 500 * time.Millisecond
	h.Exec(t, "INSERT INTO artifacts SELECT n, n % 6, n FROM generate_series(1, 120) AS n")
	h.Feed(t)
	h.FlushAll(t)
	h.Exec(t, "UPDATE casq.counters SET size = size + 1000, items = items + 10")
	if err := h.cluster.Standbys[0].WaitReplayed(t.Context(), h.cluster.Primary); err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *hanging) recounts(t *testing.T) {
	t.Helper()
	h.recount(t, Request{Kind: "artifact", All: true})
	if h.hang != nil {
		t.Error("it did not come to " + h.point)
	}
	h.FlushAll(t)
	if got, want := h.Flushed(t), h.Real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, the table has %v", got, want)
	}
}

// A standby is suspended, with its connections open: when the scan connects, when it
// has its snapshot, and when it has all. The scan goes on with the next host; in the
// last case it needs none.
func TestStandbyIsFrozenUnderAScan(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"scan:started", "scan:snapshot", "scan:summed"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			h := newHanging(t, func(c *testdb.Cluster) *pgxpool.Pool { return testdb.Pool(t, c.StandbyURL(0)) })
			h.point = point
			h.hang = func() {
				if err := h.cluster.Standbys[0].Freeze(); err != nil {
					t.Error(err)
				}
			}
			h.recounts(t)
			if err := h.cluster.Standbys[0].Thaw(); err != nil {
				t.Error(err)
			}
		})
	}
}

// The network to a standby drops everything from a moment on.
func TestStandbyBeyondANetworkThatDropsEverything(t *testing.T) {
	long.Test(t)
	t.Parallel()
	var dropping atomic.Bool
	h := newHanging(t, func(c *testdb.Cluster) *pgxpool.Pool {
		cfg, err := pgxpool.ParseConfig(c.StandbyURL(0))
		if err != nil {
			t.Fatal(err)
		}
		dial := cfg.ConnConfig.DialFunc
		cfg.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			return &dropped{conn, &dropping}, err
		}
		pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return pool
	})
	h.point, h.hang = "scan:snapshot", func() { dropping.Store(true) }
	h.recounts(t)
	dropping.Store(false)
}

// dropped is a connection whose network may drop everything.
type dropped struct {
	net.Conn
	dropping *atomic.Bool
}

func (d *dropped) Write(p []byte) (int, error) {
	if d.dropping.Load() {
		return len(p), nil
	}
	return d.Conn.Write(p)
}

// A host that is slow, and answers whoever asks it, is waited for.
func TestAHostThatIsSlowAnswers(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	// Far longer than a session takes to begin, also on a busy machine.
	b.hostPatience = 3 * time.Second
	s := &scan{r: b.Recounts}
	cfg := b.Pool.Config()
	asked, dial := make(chan struct{}, 100), cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		asked <- struct{}{}
		return dial(ctx, network, address)
	}
	host, err := pgxpool.NewWithConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	began := time.Now()
	err = s.whileItAnswers(t.Context(), host, func(ctx context.Context) error {
		// It is asked each half of the patience.
		for range 3 {
			select {
			case <-asked:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	if took := time.Since(began); err != nil || took < b.hostPatience {
		t.Errorf("it was not waited for: %v after %s", err, took)
	}
	b.Exec(t, "SELECT")
	// Nor is one given up that refuses to be asked.
	refused := b.Pool.Config()
	refused.ConnConfig.Database = "nobody_has_it"
	pool, err := pgxpool.NewWithConfig(t.Context(), refused)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if !s.answers(t.Context(), pool) {
		t.Error("a refusal is an answer")
	}
	if err := s.whileItAnswers(t.Context(), b.Pool, func(context.Context) error { return errLate }); !errors.Is(err, errLate) || errors.Is(err, errHangs) {
		t.Errorf("another error: %v", err)
	}
}

// The process that sums up hangs, with its disk, and only that one: it does not even
// notice that its time is over, while the server answers whoever asks it. Where the
// sum can be divided, it has a limit of the client's.
func TestASumWhoseAnswerDoesNotCome(t *testing.T) {
	long.Test(t)
	t.Parallel()
	url := testdb.NewCluster(t).URL()
	var frozen atomic.Int32
	b := setupAt(t, url, testredis.Start(t), func(c *settings) {
		cfg, err := pgxpool.ParseConfig(url)
		if err != nil {
			t.Fatal(err)
		}
		cfg.ConnConfig.RuntimeParams["application_name"] = "hangs"
		dial := cfg.ConnConfig.DialFunc
		cfg.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			return &before{conn, "sum_by_scope", func() {
				var pid int32
				if err := c.Home.QueryRow(t.Context(), "SELECT pid FROM pg_stat_activity WHERE application_name = 'hangs' AND datname = current_database()").Scan(&pid); err != nil {
					t.Error(err)
				}
				if frozen.CompareAndSwap(0, pid) {
					if err := syscall.Kill(int(pid), syscall.SIGSTOP); err != nil {
						t.Error(err)
					}
				}
			}}, err
		}
		other, err := pgxpool.NewWithConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(other.Close)
		t.Cleanup(func() {
			if pid := frozen.Load(); pid != 0 {
				_ = syscall.Kill(int(pid), syscall.SIGCONT)
			}
		})
		c.Standbys, c.SnapshotLimit = []*pgxpool.Pool{other}, 2*time.Second
	})
	b.hostPatience = time.Second
	b.Exec(t, "INSERT INTO artifacts SELECT n, n % 6, n FROM generate_series(1, 120) AS n")
	b.Feed(t)
	b.FlushAll(t)
	b.Exec(t, "UPDATE casq.counters SET size = size + 1000, items = items + 10")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, _, err := b.Refresh(ctx, Request{Kind: "artifact", Scopes: []string{"0", "1", "2", "3", "4", "5"}}); err != nil {
		t.Fatal(err)
	}
	scans, _ := b.queue.take()
	for _, id := range scans {
		if err := b.Scan(ctx, id, 1, b.process); err != nil {
			t.Fatalf("the next host was not asked: %v", err)
		}
	}
	b.work(t)
	if frozen.Load() == 0 {
		t.Fatal("nothing hung")
	}
	b.FlushAll(t)
	if got, want := b.Flushed(t), b.Real(t); !maps.Equal(got, want) {
		t.Errorf("flushed %v, the table has %v", got, want)
	}
}

// before is a connection that calls a function before it sends a text.
type before struct {
	net.Conn
	text string
	call func()
}

func (s *before) Write(p []byte) (int, error) {
	if strings.Contains(string(p), s.text) {
		s.call()
	}
	return s.Conn.Write(p)
}

// A standby that cancels the query says 40001, as a snapshot does that is older than
// the table. It would say so again and again; the next host is asked at once.
func TestAStandbyThatCancelsIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	snapshots := 0
	b := setup(t, func(c *settings) {
		c.Hook = func(point string) {
			if point == "scan:snapshot" {
				snapshots++
			}
		}
		standby, err := database.Open(t.Context(), c.Home.Config().ConnString(), database.Options{Application: "standby"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(standby.Close)
		c.Standbys = []*pgxpool.Pool{standby}
	})
	b.Exec(t, "INSERT INTO artifacts SELECT n, n % 6, n FROM generate_series(1, 120) AS n")
	b.Feed(t)
	b.FlushAll(t)
	b.Exec(t, `CREATE OR REPLACE FUNCTION casq.check_trusted(relation regclass) RETURNS void LANGUAGE plpgsql STABLE AS $$
		BEGIN
			IF current_setting('application_name') LIKE '%standby%' THEN
				RAISE EXCEPTION 'canceling statement due to conflict with recovery' USING ERRCODE = 'serialization_failure';
			END IF;
		END $$`)
	b.recount(t, Request{Kind: "artifact", All: true})
	if snapshots != 2 {
		t.Errorf("%d snapshots were read in, want one of the standby, and one of home", snapshots)
	}
}
