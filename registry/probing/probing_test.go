package probing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/registrytest"
	"casq/registry/probing"
)

// source is what a test's resources have at the source, by key, and who asked for what.
//
// mu guards all.
type source struct {
	mu     sync.Mutex
	has    map[string]string
	errs   map[string]error
	asked  []string
	during func(key string) // called before the answer; may be nil
}

// Probe implements [probing.Target].
func (s *source) Probe(_ context.Context, _ eventlog.Kind, copied probing.Copy) (bool, error) {
	key, checksum := copied.Key, copied.Checksum
	s.mu.Lock()
	s.asked = append(s.asked, key)
	has, there := s.has[key]
	err, during := s.errs[key], s.during
	if !there && err == nil {
		err = probing.ErrMissing
	}
	s.mu.Unlock()
	if during != nil {
		during(key)
	}
	return has != checksum, err
}

// take returns what was asked for since the last time, in order.
func (s *source) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return strings.Join(asked, " ")
}

type testBundle struct {
	*registrytest.Home
	source *source
}

// setup has resources a to e of kind doc in place, as the source has them, which are
// compared each second.
func setup(t *testing.T) *testBundle {
	t.Helper()
	b := &testBundle{registrytest.New(t), &source{has: map[string]string{}, errs: map[string]error{}}}
	b.Exec(t, "SELECT casq.define_kind('doc', 'file', probe => '1 s')")
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		b.source.has[key] = "x"
		b.Exec(t, "INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, checksum) VALUES ('doc', $1, 1, 1, 1, '{}', 'x')", key)
	}
	b.Exec(t, "UPDATE casq.registry SET synced_version = version, synced_incarnation = 1")
	return b
}

func (b *testBundle) prober(change ...func(*probing.Config)) *probing.Prober {
	cfg := probing.Config{Home: b.Pool, Jobs: b.Queue, Targets: map[string]probing.Target{"file": b.source}, Logger: b.Logger, AtOnce: 1}
	for _, f := range change {
		f(&cfg)
	}
	return probing.New(cfg)
}

// due has the next page due now.
func (b *testBundle) due(t *testing.T) {
	t.Helper()
	b.Exec(t, "UPDATE casq.probes SET due_at = now()")
}

func (b *testBundle) round(t *testing.T, p *probing.Prober) {
	t.Helper()
	if _, err := p.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// state tells of each resource whether it was compared, and whether a probe asked for it.
func (b *testBundle) state(t *testing.T) string {
	t.Helper()
	return b.Text(t, `SELECT string_agg(concat_ws('', resource_id, CASE WHEN compared_at IS NOT NULL THEN '=' END, CASE WHEN probed_version = version THEN '!' END), ' ' ORDER BY resource_id)
		FROM casq.registry WHERE kind = 'doc'`)
}

// Pages follow each other, in rounds, and each resource is in one; a process that goes on
// is another one.
func TestPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	two := func(c *probing.Config) { c.PageSize = 2 }
	var got []string
	for range 4 {
		b.round(t, b.prober(two))
		got = append(got, b.source.take())
		b.due(t)
	}
	if want := []string{"a b", "c d", "e", "a b"}; !slices.Equal(got, want) {
		t.Errorf("pages %q, want %q", got, want)
	}
	if got := b.state(t); got != "a= b= c= d= e=" {
		t.Error(got)
	}
	if n := b.Text(t, "SELECT (round IS NOT NULL)::text FROM casq.probes"); n != "true" {
		t.Error("no round has ended")
	}
	// The pace: nothing is due before its time, and what was not done is not made up for.
	b.Exec(t, "UPDATE casq.kinds SET probe = '1 hour' WHERE kind = 'doc'")
	b.Exec(t, "UPDATE casq.probes SET due_at = now() - interval '1 day'")
	for range 20 {
		b.round(t, b.prober())
	}
	if got := b.Text(t, "SELECT (due_at > now())::text FROM casq.probes"); got != "true" {
		t.Error("after a day of nothing more than a round is made up for")
	}
	b.source.take()
	b.round(t, b.prober())
	if asked := b.source.take(); asked != "" {
		t.Errorf("%q is compared before it is due", asked)
	}
}

// What has changed lately is compared four times a round, before the page that is due, until
// that was ten rounds ago.
func TestWhatHasChangedLately(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(t, "UPDATE casq.registry SET queued_at = now() - interval '1 day' WHERE resource_id <> 'd'")
	b.Exec(t, "UPDATE casq.registry SET queued_at = now() + interval '1 day' WHERE resource_id = 'd'")
	p := b.prober(func(c *probing.Config) { c.PageSize = 2 })
	now := time.Now()
	p.SetClock(func() time.Time { return now })
	after := func(d time.Duration, want string) {
		t.Helper()
		now = now.Add(d)
		b.due(t)
		b.round(t, p)
		if got := b.source.take(); got != want {
			t.Errorf("compares %q, want %q", got, want)
		}
	}
	const quarter = 250 * time.Millisecond
	after(0, "a b")
	after(0, "c d")
	after(quarter-1, "e") // d is not due yet
	after(1, "d a b")
	after(quarter, "c d") // once, though it is its turn, too
	b.source.has["b"] = "y"
	after(quarter, "d e")
	after(0, "a b") // b is found to have changed
	b.Exec(t, "UPDATE casq.registry SET synced_version = version, checksum = 'y', queued_at = now() + interval '1 day' WHERE resource_id = 'b'")
	after(quarter, "b c d")
	after(0, "e")
	after(quarter, "d a b")
	b.Exec(t, "UPDATE casq.registry SET queued_at = now() - interval '1 day'")
	after(quarter, "b c d")
	after(2*quarter, "e")
}

// Two at once compare nothing twice; a page whose process dies says nothing, and is
// compared in the next round.
func TestTwoAtOnceAndOneThatDies(t *testing.T) {
	t.Parallel()
	b := setup(t)
	died, kill := context.WithCancel(t.Context())
	p := b.prober(func(c *probing.Config) {
		c.PageSize = 3
		c.Hook = func(point string) {
			if point == "probe:taken" {
				b.due(t)
				b.round(t, b.prober(func(c *probing.Config) { c.PageSize = 3 }))
				kill()
			}
		}
	})
	if _, err := p.Round(died); err == nil {
		t.Error("it did not die")
	}
	if got := b.state(t); got != "a b c d= e=" {
		t.Error(got)
	}
	b.due(t)
	b.round(t, b.prober())
	if got := b.state(t); got != "a= b= c= d= e=" {
		t.Error(got)
	}
}

// What has changed gets a version and a job; what came between is left to whatever did
// that.
func TestAChangeRacesWithOthers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ meanwhile, want string }{
		"nothing":       {"SELECT", "a= b!"},
		"an event":      {"UPDATE casq.registry SET version = nextval('casq.registry_version') WHERE kind = 'doc'", "a b"},
		"a removal":     {"UPDATE casq.registry SET version = nextval('casq.registry_version'), deleted_at = now() WHERE kind = 'doc'", "a b"},
		"a move":        {"UPDATE casq.registry SET version = nextval('casq.registry_version'), synced_version = NULL WHERE kind = 'doc'", "a b"},
		"a run at work": {"UPDATE casq.registry SET claim = gen_random_uuid(), claim_process = gen_random_uuid() WHERE kind = 'doc'", "a= b"},
		"its end":       {"DELETE FROM casq.registry WHERE kind = 'doc'", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.Exec(t, "DELETE FROM casq.registry WHERE resource_id > 'b'")
			b.source.has["b"] = "y"
			b.round(t, b.prober(func(p *probing.Config) {
				p.Hook = func(point string) {
					if point == "probe:read" {
						b.Exec(t, c.meanwhile)
					}
				}
			}))
			if got := b.Text(t, "SELECT coalesce(("+`SELECT string_agg(concat_ws('', resource_id, CASE WHEN compared_at IS NOT NULL THEN '=' END, CASE WHEN probed_version = version THEN '!' END), ' ' ORDER BY resource_id)
				FROM casq.registry WHERE kind = 'doc'`+"), '')"); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if jobs := b.TakeJobs(t); len(jobs) != strings.Count(c.want, "!") {
				t.Errorf("jobs %v", jobs)
			}
		})
	}
}

// A row tells the time before its resource was read: what came to the source later was not
// compared.
func TestComparedIsTheTimeBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var read string
	b.source.during = func(string) { read = b.Text(t, "SELECT clock_timestamp()::text") }
	b.round(t, b.prober(func(c *probing.Config) { c.PageSize = 1 }))
	if got := b.Text(t, fmt.Sprintf("SELECT (compared_at < '%s')::text FROM casq.registry_status WHERE resource_id = 'a'", read)); got != "true" {
		t.Errorf("a was read at %s, and is called compared later", read)
	}
}

// What cannot be read shows no difference, and is told. Where the source itself is away the
// rest of the page is not tried.
func TestErrorsAreNoDifferences(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.source.errs["b"] = errors.New("bad")
	delete(b.source.has, "c")
	b.source.has["d"] = "y"
	page := func(c *probing.Config) { c.PageSize = 9 }
	b.round(t, b.prober(page))
	if got, told := b.state(t), b.Text(t, "SELECT last_error FROM casq.probes"); got != "a= b c d! e=" || told != `"b": bad` {
		t.Error(got, told)
	}
	b.Exec(t, "UPDATE casq.registry SET compared_at = NULL, synced_version = version, probed_version = NULL")
	b.TakeJobs(t)
	b.source.errs["b"] = fmt.Errorf("%w: it is not mounted", probing.ErrAway)
	b.due(t)
	b.source.take()
	b.round(t, b.prober(page))
	if got, asked := b.state(t), b.source.take(); got != "a= b c d e" || asked != "a b" {
		t.Errorf("%s after asking for %s", got, asked)
	}
	b.Exec(t, "UPDATE casq.probes SET failing_since = now() - interval '10 minutes'")
	if what := b.Text(t, "SELECT what FROM casq.health() WHERE what LIKE '%compared%'"); what != "kind doc cannot be compared with its source: the source cannot be read: it is not mounted" {
		t.Error(what)
	}
	b.source.errs = nil
	b.source.has["c"] = "x"
	b.due(t)
	b.round(t, b.prober(page))
	if told := b.Text(t, "SELECT count(last_error)::text FROM casq.probes"); told != "0" {
		t.Error("the error stays")
	}
}

// What is absent is looked at, too, and what was in place and is missing where it may be
// absent is left to a run.
func TestWhatIsAbsent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(t, "UPDATE casq.kinds SET missing = 'absent' WHERE kind = 'doc'")
	b.Exec(t, "UPDATE casq.registry SET synced_version = NULL, failed_version = version, absent = true WHERE resource_id IN ('a', 'b')")
	b.Exec(t, "UPDATE casq.registry SET synced_version = NULL, failed_version = version WHERE resource_id = 'd'")
	delete(b.source.has, "a")
	delete(b.source.has, "c")
	b.round(t, b.prober(func(c *probing.Config) { c.PageSize = 9 }))
	if got := b.state(t); got != "a= b! c! d e=" {
		t.Error(got)
	}
}

// Only kinds with a pace are probed, and by who has a target for them.
func TestKindsWithoutAPace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Exec(t, "SELECT casq.define_kind('repo', 'git', probe => '1 s')")
	b.round(t, b.prober())
	if kinds := b.Text(t, "SELECT string_agg(kind, ',') FROM casq.probes"); kinds != "doc" {
		t.Error(kinds)
	}
	b.Exec(t, "UPDATE casq.probes SET began_at = now() - interval '2 minutes', failing_since = NULL")
	if what := b.Text(t, "SELECT what FROM casq.health() WHERE what LIKE '%compared%'"); what != "kind doc is not compared with its source every 00:00:01" {
		t.Error(what)
	}
	b.Exec(t, "UPDATE casq.kinds SET probe = '0' WHERE kind = 'doc'")
	if what := b.Text(t, "SELECT count(*)::text FROM casq.health() WHERE what LIKE '%compared%'"); what != "0" {
		t.Error("a kind without a pace is late")
	}
	b.source.take()
	b.due(t)
	b.round(t, b.prober())
	if asked := b.source.take(); asked != "" {
		t.Error(asked)
	}
}

// A page is read by the key, however large the registry is.
func TestPagesUseTheKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.WantKeyUsed(t, map[string]func(n int) (string, []any){
		"page": func(n int) (string, []any) {
			return probing.SQL.Page, []any{registrytest.Kind, "path/to/resource-0100000", n, time.Hour}
		},
		"these": func(n int) (string, []any) {
			return probing.SQL.These, []any{registrytest.Kind, make([]string, n), time.Hour}
		},
		"compared": func(n int) (string, []any) {
			return probing.SQL.Compared, []any{registrytest.Kind, make([]string, n), make([]int64, n), time.Now()}
		},
		"changed": func(int) (string, []any) { return probing.SQL.Changed, []any{registrytest.Kind, "k", 1} },
	})
}

// listing is a source that tells of many at once.
type listing struct {
	*source
	pages [][]string
	away  error
}

func (l *listing) ProbeAll(ctx context.Context, kind eventlog.Kind, copies []probing.Copy, told func(i int, differs bool, err error)) error {
	var keys []string
	for i, c := range copies {
		if l.away != nil && i == 2 {
			return l.away
		}
		differs, err := l.Probe(ctx, kind, c)
		told(i, differs, err)
		keys = append(keys, c.Key)
	}
	l.take()
	l.pages = append(l.pages, keys)
	return nil
}

// What a source lists is compared a page at a time, in the order of keys; what has changed
// lately one by one. A listing that ends early has told of what it has reached.
func TestWhatIsListed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	l := &listing{source: b.source}
	b.source.has["b"] = "y"
	delete(b.source.has, "d")
	p := b.prober(func(c *probing.Config) { c.Targets = map[string]probing.Target{"file": l} })
	b.round(t, p)
	if got := b.state(t); got != "a= b! c= d e=" || len(l.pages) != 1 || !slices.Equal(l.pages[0], []string{"a", "b", "c", "d", "e"}) {
		t.Error(got, l.pages)
	}
	b.Exec(t, "UPDATE casq.registry SET compared_at = NULL, synced_version = version, probed_version = NULL, checksum = 'y' WHERE resource_id = 'b'")
	b.Exec(t, "UPDATE casq.registry SET compared_at = NULL WHERE resource_id <> 'b'")
	b.source.has["c"] = "z"
	l.away = fmt.Errorf("%w: it is not there", probing.ErrAway)
	b.due(t)
	b.round(t, p)
	if got, told := b.state(t), b.Text(t, "SELECT last_error FROM casq.probes"); got != "a= b= c d e" || !strings.Contains(told, "not there") {
		t.Error(got, told)
	}
}
