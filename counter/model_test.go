package counter

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"
)

// model is random work on the table, on the counters and against them. Whatever
// comes in whatever order, a value that is read is the sum of the events up to
// the position that it names; and in the end, of the rows of the table.
type model struct {
	*testBundle
	t         testing.TB
	next      int64
	open      []pgx.Tx
	scans     []int64
	finalizes []Finalize
	parts     []heldPart
}

type heldPart struct {
	shard int
	frozenPart
}

const modelScopes = 5

func TestModel(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.patience = 0
	if _, _, err := b.Counters.open(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := &model{testBundle: b, t: t}
	rapid.Check(t, func(r *rapid.T) {
		r.Repeat(map[string]func(*rapid.T){
			"change":   m.change,
			"late":     m.late,
			"tick":     func(*rapid.T) { m.tick(t) },
			"feed":     m.feedSome,
			"without":  m.feedWithout,
			"freeze":   m.freeze,
			"commit":   m.commit,
			"drop":     m.drop,
			"flush":    func(*rapid.T) { m.flush(t) },
			"recount":  m.ask,
			"scan":     m.scan,
			"finalize": m.finalize,
			"wipe":     func(*rapid.T) { m.redis.FlushAll(t.Context()) },
			"evict":    m.evict,
			"forget":   func(*rapid.T) { m.redis.ScriptFlush(t.Context()) },
			"":         m.check,
		})
		m.quiesce(r)
	})
}

// statements change some rows in one way each.
func (m *model) statement(r *rapid.T) (sql string, args []any) {
	m.next++
	scope := rapid.IntRange(0, modelScopes-1).Draw(r, "scope")
	size := rapid.SampledFrom([]int64{0, 1, 100, 1 << 39, 1 << 41, 1 << 50}).Draw(r, "size")
	some := rapid.IntRange(0, 6).Draw(r, "some")
	switch rapid.IntRange(0, 4).Draw(r, "statement") {
	case 0, 1:
		return "INSERT INTO artifacts SELECT $1 * 10 + n, $2, $3 FROM generate_series(0, 2) AS n", []any{m.next, scope, size}
	case 2:
		return "UPDATE artifacts SET size = $2 WHERE id % 7 = $1", []any{some, size}
	case 3:
		return "UPDATE artifacts SET project = $2 WHERE id % 7 = $1", []any{some, scope}
	default:
		return "DELETE FROM artifacts WHERE id % 7 = $1", []any{some}
	}
}

func (m *model) change(r *rapid.T) {
	sql, args := m.statement(r)
	m.settleOpen(r)
	m.exec(m.t, sql, args...)
}

// late begins a transaction that commits later; only inserts, so that nobody
// waits for its rows.
func (m *model) late(r *rapid.T) {
	if len(m.open) > 2 {
		m.settleOpen(r)
		return
	}
	tx, err := m.pool.Begin(m.t.Context())
	if err != nil {
		r.Fatal(err)
	}
	m.next++
	_, err = tx.Exec(m.t.Context(), "INSERT INTO artifacts VALUES ($1 * 10, $2, 7)", m.next, rapid.IntRange(0, modelScopes-1).Draw(r, "scope"))
	if err != nil {
		r.Fatal(err)
	}
	m.open = append(m.open, tx)
}

// settleOpen ends one of the open transactions.
func (m *model) settleOpen(r *rapid.T) {
	if len(m.open) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.open)-1).Draw(r, "open")
	end := m.open[i].Commit
	if rapid.IntRange(0, 3).Draw(r, "rollback") == 0 {
		end = m.open[i].Rollback
	}
	m.open = slices.Delete(m.open, i, i+1)
	if err := end(m.t.Context()); err != nil {
		r.Fatal(err)
	}
}

func (m *model) feedSome(r *rapid.T) {
	shards := rapid.SampledFrom([][]int{{0}, {1, 2}, {0, 1, 2, 3}}).Draw(r, "shards")
	f := m.newFeeder(m.buf, 4, shards...)
	for range 2 {
		if _, err := f.round(m.t.Context()); err != nil {
			r.Fatal(err)
		}
	}
}

func (m *model) feedWithout(r *rapid.T) {
	if rapid.IntRange(0, 3).Draw(r, "seldom") > 0 {
		return
	}
	f := m.newFeeder(nil, 4, 0, 1, 2, 3)
	if _, err := f.round(m.t.Context()); err != nil {
		r.Fatal(err)
	}
}

// A flush in its three steps, each of which may be the last, or come late.
func (m *model) freeze(r *rapid.T) {
	shard := rapid.IntRange(0, 3).Draw(r, "shard")
	part, err := m.buf.freeze(m.t.Context(), shard)
	switch {
	case errors.Is(err, errNotWhole):
	case err != nil:
		r.Fatal(err)
	case part.base != part.head:
		m.parts = append(m.parts, heldPart{shard, part})
	}
}

func (m *model) part(r *rapid.T) (heldPart, bool) {
	if len(m.parts) == 0 {
		return heldPart{}, false
	}
	m.parts = m.parts[max(0, len(m.parts)-5):]
	return m.parts[rapid.IntRange(0, len(m.parts)-1).Draw(r, "part")], true
}

func (m *model) commit(r *rapid.T) {
	part, ok := m.part(r)
	if !ok {
		return
	}
	to, err := part.head.position()
	if err != nil {
		r.Fatal(err)
	}
	var flushed bool
	err = pgx.BeginFunc(m.t.Context(), m.pool, func(tx pgx.Tx) error {
		at, _, err := lockShard(m.t.Context(), tx, part.shard)
		if err != nil || stampOf(at) != part.base {
			return err
		}
		return m.flushPart(m.t.Context(), tx, part.shard, part.frozenPart, to, &flushed)
	})
	if err != nil {
		r.Fatal(err)
	}
}

// drop drops what was flushed: never before.
func (m *model) drop(r *rapid.T) {
	part, ok := m.part(r)
	if !ok {
		return
	}
	flushed, err := m.flushedShards(m.t.Context())
	if err != nil {
		r.Fatal(err)
	}
	if stampOf(flushed[part.shard]) != part.head {
		return
	}
	if err := m.buf.drop(m.t.Context(), part.shard, part.frozenPart); err != nil {
		r.Fatal(err)
	}
}

func (m *model) evict(r *rapid.T) {
	keys := m.buf.keys(rapid.IntRange(0, 3).Draw(r, "shard"))
	m.redis.Del(m.t.Context(), keys[rapid.IntRange(0, 1).Draw(r, "key")])
}

func (m *model) ask(r *rapid.T) {
	request := Request{Kind: "artifact", Compare: rapid.Bool().Draw(r, "compare")}
	if request.All = rapid.Bool().Draw(r, "all"); !request.All {
		request.Scopes = []string{fmt.Sprint(rapid.IntRange(0, modelScopes-1).Draw(r, "scope"))}
	}
	_, _, err := m.Refresh(m.t.Context(), request)
	if err != nil && !errors.Is(err, ErrNoScope) {
		r.Fatal(err)
	}
}

func (m *model) took() {
	scans, finalizes := m.queue.take()
	m.scans, m.finalizes = append(m.scans, scans...), append(m.finalizes, finalizes...)
}

// scan carries out, or repeats, one that was queued.
func (m *model) scan(r *rapid.T) {
	m.took()
	if len(m.scans) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.scans)-1).Draw(r, "scan")
	err := m.Scan(m.t.Context(), m.scans[i], 1, m.process)
	if err != nil && !errors.Is(err, ErrBusy) && !errors.Is(err, ErrSuperseded) {
		r.Fatal(err)
	}
}

func (m *model) finalize(r *rapid.T) {
	m.took()
	if len(m.finalizes) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.finalizes)-1).Draw(r, "finalize")
	err := m.Finalize(m.t.Context(), m.finalizes[i], 2)
	if err != nil && !errors.Is(err, ErrNotReady) && !errors.Is(err, ErrSuperseded) {
		r.Fatal(err)
	}
}

// check reads all values. Each is the sum of the events that the tick shows
// which it names.
func (m *model) check(r *rapid.T) {
	for scope := range modelScopes {
		k := Key{"artifact", fmt.Sprint(scope)}
		v, err := m.Get(m.t.Context(), k)
		if err != nil {
			r.Fatal(err)
		}
		var size string
		var items int64
		err = m.pool.QueryRow(m.t.Context(), `SELECT coalesce(sum(e.size_delta), 0)::text, coalesce(sum(e.item_delta), 0)::bigint
			FROM casq.events AS e, casq.ticks AS t
			WHERE e.kind = 'artifact' AND e.scope_id = $1 AND t.id = $2 AND pg_visible_in_snapshot(e.xid, t.snapshot)`,
			k.ScopeID, v.AsOf.Tick).Scan(&size, &items)
		if err != nil {
			r.Fatal(err)
		}
		if v.Size.String() != size || v.Items != items || v.Size.Sign() < 0 {
			r.Fatalf("scope %s as of tick %d: %s in %d, the events say %s in %d", k.ScopeID, v.AsOf.Tick, v.Size, v.Items, size, items)
		}
	}
}

// quiesce ends everything that is open, and compares with the table.
func (m *model) quiesce(r *rapid.T) {
	for len(m.open) > 0 {
		m.settleOpen(r)
	}
	for range 100 {
		m.took()
		if len(m.scans)+len(m.finalizes) == 0 {
			break
		}
		m.tick(m.t)
		m.drain(r)
	}
	m.feed(m.t)
	m.flush(m.t)
	if got, want := m.flushedValues(m.t), m.real(m.t); !maps.Equal(got, want) {
		r.Fatalf("flushed %v, the table has %v", got, want)
	}
	var stuck []string
	err := m.pool.QueryRow(m.t.Context(), "SELECT array_agg(id || ' ' || state) FROM casq.refreshes WHERE state NOT IN ('done', 'cancelled')").Scan(&stuck)
	if err != nil || len(stuck) > 0 {
		r.Fatalf("recounts that are not over: %s, %v", strings.Join(stuck, ", "), err)
	}
	var differ int
	err = m.pool.QueryRow(m.t.Context(), "SELECT count(*) FROM casq.refreshes WHERE drift_size <> 0 OR drift_items <> 0").Scan(&differ)
	if err != nil || differ > 0 {
		r.Fatalf("%d recounts found a difference, %v", differ, err)
	}
	m.parts = nil
}

func (m *model) drain(r *rapid.T) {
	scans, finalizes := m.scans, m.finalizes
	m.scans, m.finalizes = nil, nil
	rand.Shuffle(len(finalizes), func(i, j int) { finalizes[i], finalizes[j] = finalizes[j], finalizes[i] })
	for _, id := range scans {
		err := m.Scan(m.t.Context(), id, 1, m.process)
		switch {
		case errors.Is(err, ErrBusy):
			m.scans = append(m.scans, id)
		case err != nil && !errors.Is(err, ErrSuperseded):
			r.Fatal(err)
		}
	}
	for _, f := range finalizes {
		err := m.Finalize(m.t.Context(), f, 2)
		switch {
		case errors.Is(err, ErrNotReady):
			m.finalizes = append(m.finalizes, f)
		case err != nil && !errors.Is(err, ErrSuperseded):
			r.Fatal(err)
		}
	}
}
