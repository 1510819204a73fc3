package recount

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"

	"casq/counter"
	"casq/counter/internal/shards"
	"casq/counter/internal/tally"

	"pgregory.net/rapid"
)

// check reads all values. Each is the sum of the events up to the position that
// it names, inside a step as well.
func (m *model) check(r *rapid.T) {
	var scopes []string
	var ticks, toTicks, pages []int64
	var got []string
	for scope := range modelScopes {
		v, err := m.Get(m.t.Context(), counter.Key{Kind: "artifact", ScopeID: fmt.Sprint(scope)})
		if err != nil {
			r.Fatal(err)
		}
		scopes, got = append(scopes, v.ScopeID), append(got, fmt.Sprint(v.Size, " in ", v.Items))
		ticks, toTicks, pages = append(ticks, v.AsOf.Tick), append(toTicks, v.AsOf.ToTick), append(pages, v.AsOf.Page)
	}
	var want []string
	err := m.Pool.QueryRow(m.t.Context(), explainedSQL, scopes, ticks, toTicks, pages).Scan(&want)
	if err != nil {
		r.Fatal(err)
	}
	for i := range got {
		if got[i] != want[i] || strings.HasPrefix(got[i], "-") {
			m.explain(scopes[i])
			r.Fatalf("scope %s as of tick %d (to %d, page %d): %s, the events say %s", scopes[i], ticks[i], toTicks[i], pages[i], got[i], want[i])
		}
	}
}

// explainedSQL is what the events say of scopes ($1), each up to a position.
const explainedSQL = `SELECT array_agg(s.said ORDER BY w.n)
	FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) WITH ORDINALITY AS w (scope, tick, to_tick, page, n)
	LEFT JOIN casq.ticks AS t ON t.id = w.tick
	LEFT JOIN casq.ticks AS upto ON upto.id = w.to_tick
	CROSS JOIN LATERAL (
		SELECT coalesce(sum(e.size_delta), 0)::text || ' in ' || coalesce(sum(e.item_delta), 0) AS said
		FROM casq.events AS e
		WHERE e.kind = 'artifact' AND e.scope_id = w.scope
		  AND (pg_visible_in_snapshot(e.xid, t.snapshot) OR e.id <= w.page AND pg_visible_in_snapshot(e.xid, upto.snapshot))
	) AS s`

// quiesce ends everything that is open, and compares with the table.
func (m *model) quiesce(r *rapid.T) {
	for len(m.open) > 0 {
		m.endOpen(r)
	}
	for range 300 {
		m.took()
		if len(m.scans)+len(m.finalizes) == 0 {
			break
		}
		m.Tick(m.t)
		m.drain(r)
	}
	m.Feed(m.t)
	m.FlushAll(m.t)
	if got, want := m.Flushed(m.t), m.Real(m.t); !maps.Equal(got, want) {
		r.Fatalf("flushed %v, the table has %v", got, want)
	}
	var stuck []string
	err := m.Pool.QueryRow(m.t.Context(), "SELECT array_agg(id || ' ' || state) FROM casq.refreshes WHERE state NOT IN ('done', 'cancelled')").Scan(&stuck)
	if err != nil || len(stuck) > 0 {
		r.Fatalf("recounts that are not over: %s, %v", strings.Join(stuck, ", "), err)
	}
	var differ int
	err = m.Pool.QueryRow(m.t.Context(), "SELECT count(*) FROM casq.refreshes WHERE drift_size <> 0 OR drift_items <> 0").Scan(&differ)
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

// explain logs what is where, and how it came to that.
func (m *model) explain(scope string) {
	k := counter.Key{Kind: "artifact", ScopeID: scope}
	shard := tally.ShardOf(k, 4)
	flushed := m.Flushed(m.t)[scope]
	at, err := shards.Positions(m.t.Context(), m.Pool)
	s, readErr := m.buf.Read(m.t.Context(), shard, k)
	m.t.Logf("flushed %v at %s, %v; in Redis %+v, %v; after %q",
		flushed, at[shard], err, s, readErr, m.done)
}
