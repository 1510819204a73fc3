package countertest

import (
	"maps"
	"testing"
)

// Namespaces is [New] with scopes that are grouped by a table of projects.
func Namespaces(t testing.TB, change ...func(*Settings)) *Bundle {
	t.Helper()
	b := New(t, change...)
	b.AddNamespaces(t)
	return b
}

// AddNamespaces makes the table of projects, and groups scopes by it.
func (b *Bundle) AddNamespaces(t testing.TB) {
	t.Helper()
	b.Exec(t, "CREATE TABLE projects (id bigint PRIMARY KEY, namespace_id integer)")
	b.Group(t, "projects")
}

// Group groups scopes by a table or view with the columns of projects.
func (b *Bundle) Group(t testing.TB, table string) {
	t.Helper()
	b.Exec(t, "SELECT casq.group_scopes('artifact', parents => $1::text::regclass, scope_column => 'id', parent_column => 'namespace_id')", table)
}

// Joined is what the tables say of each namespace with a project, and of all
// that belongs to none.
func (b *Bundle) Joined(t testing.TB) map[string]Pair {
	t.Helper()
	all := b.Sums(t, `SELECT p.namespace_id::text, coalesce(sum(a.size), 0)::bigint, count(a.id)
		FROM projects AS p LEFT JOIN artifacts AS a ON a.project = p.id WHERE p.namespace_id IS NOT NULL GROUP BY 1`)
	maps.Copy(all, b.Sums(t, `SELECT 'none', sum(a.size)::bigint, count(*) FROM artifacts AS a LEFT JOIN projects AS p ON p.id = a.project
		WHERE p.namespace_id IS NULL HAVING count(*) > 0`))
	return all
}

// Totals are those of all namespaces, as they were flushed.
func (b *Bundle) Totals(t testing.TB) map[string]Pair {
	t.Helper()
	return b.Sums(t, "SELECT coalesce(parent_id, 'none'), size::bigint, items FROM casq.totals('artifact')")
}

// LiveTotal is a namespace's total, with what Redis has of it.
func (b *Bundle) LiveTotal(t testing.TB, parent string) Pair {
	t.Helper()
	v, err := b.Total(t.Context(), "artifact", parent)
	if err != nil {
		t.Fatal(err)
	}
	if !v.Live || !v.Exact {
		t.Errorf("namespace %s: live %t, exact %t", parent, v.Live, v.Exact)
	}
	return Pair{v.Size.Int64(), v.Items}
}
