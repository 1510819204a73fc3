package countertest

import (
	"testing"

	"casq/counter"

	"github.com/jackc/pgx/v5"
)

// Pair is bytes and items.
type Pair [2]int64

// Real is what the table says.
func (b *Bundle) Real(t testing.TB) map[string]Pair {
	t.Helper()
	return b.Sums(t, "SELECT coalesce(project::text, ''), coalesce(sum(size), 0)::bigint, count(*) FROM artifacts GROUP BY 1")
}

// Flushed is what the counters in Postgres say, without those that are zero.
func (b *Bundle) Flushed(t testing.TB) map[string]Pair {
	t.Helper()
	return b.Sums(t, "SELECT scope_id, size::bigint, items FROM casq.statistics WHERE kind = 'artifact' AND (size, items) <> (0, 0)")
}

// Live is a counter with what Redis has of it.
func (b *Bundle) Live(t testing.TB, scope string) Pair {
	t.Helper()
	v, err := b.Get(t.Context(), counter.Key{Kind: "artifact", ScopeID: scope})
	if err != nil {
		t.Fatal(err)
	}
	if !v.Live {
		t.Fatalf("scope %s: not live, as of %s", scope, v.AsOf)
	}
	return Pair{v.Size.Int64(), v.Items}
}

// Sums reads rows of a name, bytes and items.
func (b *Bundle) Sums(t testing.TB, sql string) map[string]Pair {
	t.Helper()
	return collect(t, b, sql, func(row pgx.CollectableRow) (name string, p Pair, err error) {
		err = row.Scan(&name, &p[0], &p[1])
		return name, p, err
	})
}

// Texts reads rows of a name and a text.
func (b *Bundle) Texts(t testing.TB, sql string) map[string]string {
	t.Helper()
	return collect(t, b, sql, func(row pgx.CollectableRow) (name, text string, err error) {
		err = row.Scan(&name, &text)
		return name, text, err
	})
}

func collect[V any](t testing.TB, b *Bundle, sql string, scan func(pgx.CollectableRow) (string, V, error)) map[string]V {
	t.Helper()
	rows, err := b.Pool.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]V)
	_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
		name, v, err := scan(row)
		values[name] = v
		return struct{}{}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return values
}
