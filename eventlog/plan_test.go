package eventlog

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Bounds in buffers, which do not depend on how busy the machine is. A page of
// 1,000 events has some 23 buffers of rows, 5 of their index, and the few of
// the ticks and of the ways down from the roots. What must not happen takes
// thousands: 100,000 events have 2,500 buffers, and 350 in each index.
const (
	pageEvents   = 1000
	pageBuffers  = 120
	probeBuffers = 60
)

// backlog is a log whose planner statistics are those that a test wants.
type backlog struct {
	pool *pgxpool.Pool
}

func newBacklog(t *testing.T) *backlog {
	t.Helper()
	pool := testdb.New(t).Pool(t)
	b := &backlog{pool}
	b.exec(t, "ALTER TABLE casq.events SET (autovacuum_enabled = off); ALTER TABLE casq.ticks SET (autovacuum_enabled = off)")
	b.exec(t, "SELECT casq.define_kind('resource', 'none')")
	b.exec(t, "SELECT casq.tick(true)")
	return b
}

func (b *backlog) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := b.pool.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

const appendMany = `INSERT INTO casq.events (kind, resource_id, op, payload)
	SELECT 'resource', 'a/folder/' || i, 'updated', jsonb_build_object('sha256', repeat('a', 64)) FROM generate_series(1, %d) AS i`

// transactions commits n transactions with each events.
func (b *backlog) transactions(t *testing.T, n, each int) {
	t.Helper()
	b.exec(t, fmt.Sprintf("DO $$ BEGIN FOR n IN 1..%d LOOP %s; COMMIT; END LOOP; END $$", n, fmt.Sprintf(appendMany, each)))
}

func (b *backlog) tick(t *testing.T) Position {
	t.Helper()
	if _, err := Tick(t.Context(), b.pool, true); err != nil {
		t.Fatal(err)
	}
	p, err := NewReader(b.pool, 0).Start(t.Context())
	if err == nil {
		err = b.pool.QueryRow(t.Context(), "SELECT id, nonce FROM casq.ticks ORDER BY id DESC LIMIT 1").Scan(&p.Tick, &p.Nonce)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// explaining is a database that explains each page before it reads it.
type explaining struct {
	*pgxpool.Pool
	t    *testing.T
	most *int // buffers
	plan *string
}

func (e explaining) SendBatch(ctx context.Context, batch *pgx.Batch) pgx.BatchResults {
	var explained pgx.Batch
	i := slices.IndexFunc(batch.QueuedQueries, func(q *pgx.QueuedQuery) bool { return q.SQL == logSQL.Page })
	if i < 0 {
		return e.Pool.SendBatch(ctx, batch)
	}
	page := batch.QueuedQueries[i]
	explained.Queue(planSettings)
	explained.Queue("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "+page.SQL, page.Arguments...).QueryRow(func(row pgx.Row) error {
		n, plan, err := buffers(row)
		if n > *e.most {
			*e.most, *e.plan = n, plan
		}
		return err
	})
	if err := e.Pool.SendBatch(ctx, &explained).Close(); err != nil {
		e.t.Error(err)
	}
	return e.Pool.SendBatch(ctx, batch)
}

// buffers is what a statement has touched, without planning.
func buffers(row pgx.Row) (n int, plan string, err error) {
	var raw []byte
	if err := row.Scan(&raw); err != nil {
		return 0, "", err
	}
	var explained []struct {
		Plan struct {
			Hit  int `json:"Shared Hit Blocks"`
			Read int `json:"Shared Read Blocks"`
		}
	}
	if err := json.Unmarshal(raw, &explained); err != nil {
		return 0, "", err
	}
	return explained[0].Plan.Hit + explained[0].Plan.Read, string(raw), nil
}

// wantCheapPages reads a number of pages from p, if there are so many, and
// returns how many events they have.
func (b *backlog) wantCheapPages(t *testing.T, what string, p Position, pages int) int {
	t.Helper()
	most, plan := 0, ""
	reader := NewReader(explaining{b.pool, t, &most, &plan}, pageEvents)
	events := 0
	for range pages {
		batch, err := reader.Next(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		events += len(batch.Events)
		if batch.Next == p {
			break
		}
		p = batch.Next
	}
	t.Logf("%s: %d events, at most %d buffers a page", what, events, most)
	if most == 0 {
		t.Errorf("%s: no page was explained", what)
	}
	if most > pageBuffers {
		t.Errorf("%s: a page touched %d buffers, more than %d:\n%s", what, most, pageBuffers, plan)
	}
	return events
}

// wantCheapProbe asks whether something came since the tick at p.
func (b *backlog) wantCheapProbe(t *testing.T, what string, want bool) {
	t.Helper()
	var got bool
	question := "SELECT casq.events_between((SELECT snapshot FROM casq.ticks ORDER BY id DESC LIMIT 1), pg_current_snapshot())"
	if err := b.pool.QueryRow(t.Context(), question).Scan(&got); err != nil || got != want {
		t.Errorf("%s: something came %v, want %v, %v", what, got, want, err)
	}
	n, plan, err := buffers(b.pool.QueryRow(t.Context(), "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "+question))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: a probe touches %d buffers", what, n)
	if n > probeBuffers {
		t.Errorf("%s: a probe touched %d buffers, more than %d:\n%s", what, n, probeBuffers, plan)
	}
}

// A step in a backlog costs what the step has, not what the log has: when
// ANALYZE never ran, ran before the backlog, or after it.
func TestPagesInABacklogAreCheap(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"never", "before", "after"} {
		t.Run("analyzed "+when, func(t *testing.T) {
			t.Parallel()
			b := newBacklog(t)
			b.transactions(t, 20, 100)
			if when == "before" {
				b.exec(t, "ANALYZE casq.events")
			}
			p1 := b.tick(t)
			b.transactions(t, 20, 100)
			p2 := b.tick(t)
			small := p1
			small.ToTick, small.ToNonce = p2.Tick, p2.Nonce
			b.transactions(t, 500, 200)
			b.tick(t)
			if when == "after" {
				b.exec(t, "ANALYZE casq.events")
			}
			if n := b.wantCheapPages(t, "a small step", small, 2); n != 2000 {
				t.Errorf("%d events, want 2,000", n)
			}
			b.wantCheapPages(t, "the backlog", p2, 5)
			b.wantCheapProbe(t, "the backlog", false)
			b.transactions(t, 1, 1)
			b.wantCheapProbe(t, "one new event", true)
		})
	}
}

// A huge transaction costs nothing while it is open. Once it has committed, a
// page of it costs a page, wherever its ids lie: appended before the tick from
// which the step leads (late), after it, or both.
func TestHugeTransactionIsCheap(t *testing.T) {
	t.Parallel()
	for _, analyzed := range []bool{false, true} {
		t.Run(fmt.Sprintf("analyzed %v", analyzed), func(t *testing.T) {
			t.Parallel()
			b := newBacklog(t)
			b.transactions(t, 1, 1)
			tx, err := b.pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback(context.Background())
			half := fmt.Sprintf(appendMany, 50_000)
			if _, err := tx.Exec(t.Context(), half); err != nil {
				t.Fatal(err)
			}
			b.transactions(t, 1, 1)
			p := b.tick(t)
			if _, err := tx.Exec(t.Context(), half); err != nil {
				t.Fatal(err)
			}
			b.transactions(t, 1, 1)
			b.tick(t)
			b.transactions(t, 1, 1)
			before := b.tick(t)
			if analyzed {
				b.exec(t, "ANALYZE casq.events")
			}
			b.wantCheapProbe(t, "100,000 events of an open transaction", false)
			b.transactions(t, 1, 10)
			b.wantCheapProbe(t, "ten events beside them", true)
			b.tick(t)
			if n := b.wantCheapPages(t, "ten events beside an open transaction", before, 2); n != 10 {
				t.Errorf("%d events, want 10", n)
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.wantCheapProbe(t, "the transaction has committed", true)
			b.tick(t)
			b.wantCheapProbe(t, "its tick is taken", false)
			if n := b.wantCheapPages(t, "a huge transaction", p, 200); n != 100_012 {
				t.Errorf("%d events, want 100,012", n)
			}
		})
	}
}

// A look for new ticks costs the same however many ticks there are.
func TestLookAmongManyTicksIsCheap(t *testing.T) {
	t.Parallel()
	for _, analyzed := range []bool{false, true} {
		t.Run(fmt.Sprintf("analyzed when empty %v", analyzed), func(t *testing.T) {
			t.Parallel()
			b := newBacklog(t)
			if analyzed {
				b.exec(t, "ANALYZE casq.ticks; ANALYZE casq.timelines")
			}
			b.exec(t, `INSERT INTO casq.ticks (id, timeline, snapshot, low_id, high_id, lsn)
				SELECT 1 + i, timeline, snapshot, low_id, high_id, lsn FROM casq.ticks, generate_series(1, 100000) AS i WHERE id = 1`)
			for _, toTick := range []int64{0, 60_000} {
				n, plan, err := buffers(b.pool.QueryRow(t.Context(), "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "+logSQL.Probe, 1, 50_000, toTick))
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("a probe touches %d buffers", n)
				if n > probeBuffers {
					t.Errorf("a probe touched %d buffers, more than %d:\n%s", n, probeBuffers, plan)
				}
			}
		})
	}
}

// The statement says what it needs, and nothing of this is left behind in the
// session: consumers of the same pool plan as they like.
func TestPlanSettingsEndWithThePage(t *testing.T) {
	t.Parallel()
	b := newBacklog(t)
	conn, err := b.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	b.transactions(t, 1, 1)
	b.tick(t)
	start, err := NewReader(conn, 0).Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if batch, err := NewReader(conn, 0).Next(t.Context(), start); err != nil || len(batch.Events) != 1 {
		t.Fatalf("read %v, %v", batch.Events, err)
	}
	for _, name := range []string{"enable_bitmapscan", "enable_seqscan"} {
		var value string
		if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&value); err != nil || value != "on" {
			t.Errorf("%s is %s after a page, %v", name, value, err)
		}
		if !strings.Contains(planSettings, name) {
			t.Errorf("the test looks at %s, which is not set", name)
		}
	}
}
