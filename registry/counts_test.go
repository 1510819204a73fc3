package registry_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/registrytest"
	"casq/internal/testing/testdb"
	"casq/registry"
)

// Each test of this package ends with a comparison of the counts that are kept with the
// rows that are there: registrytest.CountsSQL.

func (b *testBundle) wantCounts(t *testing.T) {
	t.Helper()
	if differs := b.Text(t, registrytest.CountsSQL); differs != "" {
		t.Errorf("the registry has other counts than those that are kept:\n%s", differs)
	}
}

// What is kept is right before, while and after changes are moved into the sums, and the
// sums have no row for what is gone.
func TestCountsAreMoved(t *testing.T) {
	t.Parallel()
	b := resyncBundle(t)
	p := b.Process(t)
	b.wantCounts(t)
	for range 2 {
		if err := p.MoveCounts(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.wantCounts(t)
	}
	if left := b.Text(t, "SELECT count(*)::text FROM casq.registry_changes"); left != "0" {
		t.Errorf("%s changes are left", left)
	}
	b.Exec(t, "DELETE FROM casq.registry")
	if err := p.MoveCounts(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := b.Text(t, "SELECT count(*)::text FROM casq.registry_counts"); left != "0" {
		t.Errorf("%s sums of nothing are left", left)
	}
}

// Changes are moved by several processes at once, while others change the registry, and
// every reader finds what is there as of his snapshot.
func TestCountsAreMovedByMany(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	var group sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		p := b.Process(t)
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := p.MoveCounts(t.Context()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var writers sync.WaitGroup
	tokens := make(chan registry.Token, 40)
	for i := range cap(tokens) {
		tokens <- b.Create(t, int64(i+1), fmt.Sprint("key ", i))
	}
	close(tokens)
	for range 4 {
		writers.Go(func() {
			for token := range tokens {
				c, err := r.Claim(t.Context(), token, 7)
				if err == nil {
					err = r.Publish(c, registry.Result{Size: 5}, nil)
				}
				if err != nil {
					t.Error(err)
				}
				b.wantCounts(t)
			}
		})
	}
	writers.Wait()
	close(stop)
	group.Wait()
	if got := b.Text(t, "SELECT concat_ws(' ', status, count, bytes) FROM casq.registry_summary"); got != "synced 40 200" {
		t.Errorf("the summary is %q", got)
	}
}

// By hand, too.
func TestCountsOfStatementsByHand(t *testing.T) {
	t.Parallel()
	b := resyncBundle(t)
	for _, statement := range []string{
		"UPDATE casq.registry SET failed_version = version, last_error = 'x' WHERE resource_id < 'q'",
		"DELETE FROM casq.registry WHERE resource_id < 'g'",
		"TRUNCATE casq.registry",
	} {
		b.Exec(t, statement)
		b.wantCounts(t)
	}
}

// What people wait for must not get slower with the registry.
func TestCountsDoNotReadTheRegistry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, view := range []string{"registry_summary", "registry_failures", "registry_groups"} {
		plan, text := testdb.Explain(t, b.Pool, "SELECT * FROM casq."+view)
		if len(plan.Scans("registry")) > 0 {
			t.Errorf("%s reads the registry: %s", view, text)
		}
		if len(plan.Scans("registry_counts")) == 0 {
			t.Errorf("%s does not read the sums: %s", view, text)
		}
	}
}

// Errors of one cause are one group.
func TestFailuresAreGrouped(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	for i, text := range []string{
		`open /srv/files/a/b.txt: permission denied`,
		`open /srv/files/c.txt: permission denied`,
		`GET "https://example.org/1": 404 Not Found`,
		`GET "https://example.org/2": 404 Not Found`,
		`GET "https://example.org/3": 503 Service Unavailable`,
		`checksum is 2cf24dba5fb0a30e26e83b2ac5b9e29e, want 486ea46224d1bb4fb680f34f7c9ad96a`,
		`checksum is 486ea46224d1bb4fb680f34f7c9ad96a, want 2cf24dba5fb0a30e26e83b2ac5b9e29e`,
	} {
		c := claim(t, r, b.Create(t, int64(i+1), fmt.Sprint("key ", i)))
		if _, err := r.Fail(c, errors.New(text), nil); err != nil {
			t.Fatal(err)
		}
	}
	got := b.Text(t, "SELECT string_agg(concat_ws(' ', count, reason), E'\n' ORDER BY reason COLLATE \"C\") FROM casq.registry_failures")
	want := `2 GET ...: 404 Not Found
1 GET ...: 503 Service Unavailable
2 checksum is ..., want ...
2 open ...: permission denied`
	if got != want {
		t.Errorf("failures are\n%s\nwant\n%s", got, want)
	}
}

// A group that loses a resource was not seen again by that, moved or not.
func TestFailuresWereSeenWhenTheyCame(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, p := b.Registry(t), b.Process(t)
	seen := func() string {
		return b.Text(t, "SELECT concat_ws(' ', count, first_seen, last_seen) FROM casq.registry_failures")
	}
	for i, key := range []string{"one", "two"} {
		c := claim(t, r, b.Create(t, int64(i+1), key))
		if _, err := r.Fail(c, errors.New("no source"), nil); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.Replace(seen(), "2 ", "1 ", 1)
	b.Exec(t, "UPDATE casq.registry SET failed_version = NULL WHERE resource_id = 'one'")
	for _, moved := range []bool{false, true} {
		if moved {
			if err := p.MoveCounts(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := seen(); got != want {
			t.Errorf("moved %t: seen %q, want %q", moved, got, want)
		}
	}
}
