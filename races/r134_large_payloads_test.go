package races

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/cursor"
	casqdb "casq/internal/database"
	"casq/internal/testing/faultproxy"
	"casq/internal/testing/testdb"
	"casq/internal/testing/testproc"
	"casq/jobs"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// r134Memory is what a holder may need, in bytes, however large the payloads are.
// All of 300 at once took 472 MB, and page by page 78 MB.
const r134Memory = 200 << 20

// TestR134LargePayloads: one transaction has hundreds of events of hundreds of kB
// each, and one of another kind behind them. Who reads pages by the number of their
// events needs as much memory as they have bytes, several times; and on a slow link
// to home, home takes the holder for idle while a page is on its way, ends its
// session, and so it goes with each try. Pages have to be bounded by bytes and to
// become smaller where that is too much still, memory to be bounded, and the other
// kind to go on.
func TestR134LargePayloads(t *testing.T) {
	t.Parallel()
	t.Run("twin/pages by number", func(t *testing.T) {
		t.Parallel()
		peak := newR134(t, 300, 272_000).holder(t, 1<<40)
		if peak < r134Memory {
			t.Errorf("the twin needed %d bytes; it should have needed more than %d", peak, r134Memory)
		}
	})
	t.Run("twin/pages of one size", func(t *testing.T) {
		t.Parallel()
		r := newR134(t, 60, 50_000)
		home := r.slowHome(t)
		for range 5 {
			if err := r.naively(t, home); err == nil {
				t.Fatal("a page has got through; want the link to be too slow for it")
			}
		}
		if got := lines(t, r.home, r134Done); got != "" {
			t.Errorf("the twin has %q; want nothing to get through", got)
		}
	})
	t.Run("ours/memory", func(t *testing.T) {
		t.Parallel()
		r := newR134(t, 300, 272_000)
		if peak := r.holder(t, 0); peak > r134Memory {
			t.Errorf("a holder needed %d bytes, more than %d", peak, r134Memory)
		}
		r.until(t, "the end of all", r134Done, "other 1\nresource 300")
	})
	t.Run("ours/slow link", func(t *testing.T) {
		t.Parallel()
		r := newR134(t, 60, 50_000)
		home := r.slowHome(t)
		queue, err := jobs.NewQueue(home, raceLog(t))
		if err != nil {
			t.Fatal(err)
		}
		follow(t, cursor.Config{
			Name: "registry", Source: r.source, Home: home, Consumer: &registry.Transposer{Jobs: queue}, Logger: raceLog(t),
			Interval: time.Millisecond, Wait: 20 * time.Millisecond,
		})
		r.until(t, "the end of all", r134Done, "other 1\nresource 60")
	})
}

// r134Done are the resources that have a row, by kind.
const r134Done = `SELECT kind || ' ' || count(*) FROM casq.registry GROUP BY kind ORDER BY kind`

type r134 struct {
	*reconcileSite
	url string
}

// newR134 has a log with one transaction of so many events of so many bytes.
func newR134(t *testing.T, events, bytes int) *r134 {
	t.Helper()
	url := testdb.New(t).URL
	r := &r134{newReconcileSite(t, url, ""), url}
	execute(t, r.source, fmt.Sprintf(`SELECT casq.define_kind('other', 'none');
		INSERT INTO casq.events (kind, resource_id, op, payload)
		SELECT 'resource', i::text, 'updated', jsonb_build_object('v', repeat(md5(i::text), %d)) FROM generate_series(1, %d) AS i;
		SELECT casq.append_event('other', 'small', 'updated')`, bytes/32, events))
	r.tick(t)
	return r
}

// slowHome is home behind a link that takes 200 kB across at once, while home takes
// who says nothing for 200 ms for idle.
func (r *r134) slowHome(t *testing.T) *pgxpool.Pool {
	t.Helper()
	network := faultproxy.New()
	network.Narrow(200_000, time.Second)
	return network.Open(t, r.url, casqdb.Options{SearchPath: "public", IdleInTransaction: 200 * time.Millisecond})
}

// naively applies the first page, whose size is always the same.
func (r *r134) naively(t *testing.T, home *pgxpool.Pool) error {
	t.Helper()
	reader := eventlog.NewReader(r.source, 0)
	start, err := reader.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	batch, err := reader.Next(t.Context(), start)
	if err != nil || len(batch.Events) < 60 {
		t.Fatal(len(batch.Events), err)
	}
	transposer := &registry.Transposer{Jobs: r.queue}
	return pgx.BeginFunc(t.Context(), home, func(tx pgx.Tx) error { return transposer.Apply(t.Context(), tx, batch) })
}

// holder follows the log to its end in a process of its own, in pages of so many
// bytes (0: ours), and returns the memory that this took at most.
func (r *r134) holder(t *testing.T, bytes int64) (peak int64) {
	t.Helper()
	child := testproc.Start(t, r134Child, r.url, strconv.FormatInt(bytes, 10))
	child.Await(r134Behind)
	r.until(t, "the event behind all others", `SELECT count(*)::text FROM casq.registry WHERE kind = 'other'`, "1")
	peak = child.PeakMemory()
	t.Logf("%d MB at most", peak>>20)
	child.Kill()
	return peak
}

const (
	r134Child  = "r134"
	r134Behind = "applied what is behind all others"
)

// r134Teller tells of each batch that it has applied.
type r134Teller struct{ *registry.Transposer }

func (r r134Teller) Apply(ctx context.Context, tx pgx.Tx, batch eventlog.Batch) error {
	err := r.Transposer.Apply(ctx, tx, batch)
	said := "applied a batch"
	if err == nil && batch.Events[len(batch.Events)-1].Kind == "other" {
		said = r134Behind
	}
	testproc.Say(said)
	return err
}

// r134Holder is a process that follows the log.
func r134Holder(args []string) error {
	ctx, log := context.Background(), slog.New(slog.DiscardHandler)
	bytes, err1 := strconv.ParseInt(args[1], 10, 64)
	pool, err := casqdb.Open(ctx, args[0], casqdb.Options{SearchPath: "public", IdleInTransaction: time.Minute})
	if err := errors.Join(err, err1); err != nil {
		return err
	}
	defer pool.Close()
	queue, err := jobs.NewQueue(pool, log)
	if err != nil {
		return err
	}
	return cursor.New(cursor.Config{
		Name: "registry", Source: pool, Home: pool, Consumer: r134Teller{&registry.Transposer{Jobs: queue}}, Logger: log,
		PageBytes: bytes, Wait: 20 * time.Millisecond,
	}).Run(ctx)
}
