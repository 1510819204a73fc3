package reconcile

import (
	"fmt"
	"testing"
	"time"

	"casq/internal/database"
	"casq/internal/portion"
	"casq/internal/testing/faultproxy"
	"casq/internal/testing/long"
	"casq/registry"
)

// largeResources is a site with n resources of about 15 kB each, which do not compress,
// and of which no event has told.
func largeResources(t *testing.T, n int) *refetchBundle {
	t.Helper()
	b := setupRefetch(t)
	simple(t, b.Pool, `SELECT casq.untrack('resources')`, `ALTER TABLE resources ADD large text`,
		fmt.Sprintf(`INSERT INTO resources SELECT to_char(i, 'FM0000'), 1, (SELECT string_agg(md5(i::text || w::text), '') FROM generate_series(1, 480) AS w) FROM generate_series(1, %d) AS i`, n),
		`SELECT casq.track('resources', kind => 'resource', transfer => 'none', key_column => 'key', payload_columns => ARRAY['large'])`)
	b.tick(t)
	b.follow(t)
	return b
}

// However large the resources are, a page of them is not, and has one at least; and
// so has what a page is told of.
func TestPagesOfTheSourceAreBoundedByBytes(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := largeResources(t, 40)
	for bytes, want := range map[int64]int{1: 1, 15_000: 1, 40_000: 3, 150_000: 10, 1 << 30: 40} {
		p, err := resourcesPage(t.Context(), b.Pool, registry.Selection{Kind: kind}, nil, portion.Size{Rows: 100, Bytes: bytes})
		if err != nil || len(p.keys) != want || *p.last != p.keys[want-1] || len(p.payloads) != want || len(p.scopes) != want {
			t.Errorf("%d bytes: %d resources up to %q, want %d, %v", bytes, len(p.keys), *p.last, want, err)
		}
		asked := []string{"0003", "none", "0002", "0001", "0005", "none, either"}
		p, err = resourcesOf(t.Context(), b.Pool, registry.Selection{Kind: kind}, asked, bytes)
		answered := map[int64]int{1: 1, 15_000: 1, 40_000: 4}[bytes]
		if answered == 0 {
			answered = len(asked)
		}
		if err != nil || p.answered != answered {
			t.Errorf("%d bytes: %d were answered, want %d, %v", bytes, p.answered, answered, err)
		}
	}
	if report, err := Refetch(t.Context(), b.Pool, b.Pool, b.Queue, kind, []string{"0001", "0002", "0003", "x"}); err != nil || report != (RefetchReport{Copied: 3, Unknown: 1}) {
		t.Errorf("%+v, %v", report, err)
	}
}

// On a link that is too slow for a page, or where a statement may not take as long
// as one, smaller pages get through; and no kind is called bad for it.
func TestReconcileOnASlowLink(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := largeResources(t, 40)
	network := faultproxy.New()
	network.Narrow(100_000, time.Second)
	home := network.Open(t, b.Pool.Config().ConnString(), database.Options{IdleInTransaction: 200 * time.Millisecond, SearchPath: "public"})
	id := b.ask(t, registry.Request{})
	r := b.reconciler(t, func(c *Config) { c.Home, c.PageSize = home, 100 })
	b.round(t, r)
	if got := b.report(t, id); got != "resource: created 40" {
		t.Errorf("got %q: %s", got, b.Text(t, "SELECT coalesce(waiting, '') FROM casq.reconcile_runs WHERE id = $1", id))
	}
	if got := b.Text(t, parts, id); got != "" {
		t.Errorf("parts: %q", got)
	}
}
