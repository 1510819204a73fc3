package worker

import (
	"maps"
	"strconv"
	"sync"
	"testing"

	"casq/eventlog"
	"casq/internal/testing/long"
	"casq/jobs"
)

func TestCapacity(t *testing.T) {
	t.Parallel()
	w := &worker{
		cfg:    Config{Concurrency: 100, KindConcurrency: map[string]int{"small": 4, "large": 200, "elsewhere": 1}},
		movers: &movers{byTransfer: map[string]jobs.Transfer{eventlog.TransferFile: nil}},
	}
	kind := func(name, queue, transfer string) eventlog.Kind {
		return eventlog.Kind{Name: name, Queue: queue, Transfer: transfer}
	}
	w.movers.byTransfer[eventlog.TransferFile] = &nothing{}
	for name, test := range map[string]struct {
		kinds []eventlog.Kind
		want  map[string]int
	}{
		"by default":          {[]eventlog.Kind{kind("other", "other", "file")}, map[string]int{"other": 100}},
		"own":                 {[]eventlog.Kind{kind("small", "small", "file"), kind("large", "large", "none")}, map[string]int{"small": 4, "large": 200}},
		"shared":              {[]eventlog.Kind{kind("small", "q", "file"), kind("large", "q", "file")}, map[string]int{"q": 4}},
		"shared with default": {[]eventlog.Kind{kind("large", "q", "file"), kind("other", "q", "file")}, map[string]int{"q": 100}},
		"shared with one that this worker has no target for": {[]eventlog.Kind{kind("large", "q", "file"), kind("elsewhere", "q", "git")}, map[string]int{"q": 200}},
	} {
		kinds := make(map[string]eventlog.Kind)
		for _, k := range test.kinds {
			kinds[k.Name] = k
		}
		if got := w.capacity(kinds); !maps.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}

// nothing is a transfer.
type nothing struct{ jobs.Transfer }

// crowd counts who is at one point at once. full closes when as many as the
// limit are there, and all of them wait until let.
//
// mu guards the numbers.
type crowd struct {
	mu        sync.Mutex
	now, most int
	full      chan struct{}
	opened    chan struct{}
	fill, let func()
}

func newCrowd() *crowd {
	c := &crowd{full: make(chan struct{}), opened: make(chan struct{})}
	// Once they are let go, one may come while another has not left yet: the
	// crowd is full again.
	c.fill = sync.OnceFunc(func() { close(c.full) })
	c.let = sync.OnceFunc(func() { close(c.opened) })
	return c
}

func (c *crowd) enter(limit int) {
	c.mu.Lock()
	c.now++
	c.most = max(c.most, c.now)
	if c.now == limit {
		c.fill()
	}
	c.mu.Unlock()
	<-c.opened
	c.mu.Lock()
	c.now--
	c.mu.Unlock()
}

// No more runs of a kind are at work than its number, though many wait; and
// they have no part in how many another kind has.
func TestRunsOfAKindAreLimited(t *testing.T) {
	long.Test(t)
	t.Parallel()
	c := newCrowd()
	const limit, resources = 3, 30
	b := setup(t, func(cfg *Config) {
		cfg.KindConcurrency = map[string]int{"artifact": limit}
		cfg.Hook = func(point string) {
			if point == "begin:made" { // files only
				c.enter(limit)
			}
		}
	})
	t.Cleanup(c.let)
	for i := range resources {
		b.put(t, strconv.Itoa(i), "x")
	}
	<-c.full
	b.exec(t, "SELECT casq.define_kind('fact', 'none')")
	for i := range resources {
		b.exec(t, "SELECT casq.append_event('fact', $1, 'created')", strconv.Itoa(i))
	}
	b.until(t, "0", func() bool { return b.count(t, "kind = 'fact' AND synced_version = version") == resources })
	// Those that wait have had the time of all of them to get in.
	c.let()
	b.until(t, "0", func() bool { return b.count(t, "kind = 'artifact' AND synced_version = version") == resources })
	if c.most != limit {
		t.Errorf("%d runs at once, want %d", c.most, limit)
	}
}

// A queue gets a second kind, with a smaller number, while it is served.
func TestAQueueIsNarrowed(t *testing.T) {
	long.Test(t)
	t.Parallel()
	var mu sync.Mutex
	first, second := newCrowd(), newCrowd()
	current, limit := first, 4
	b := setup(t, func(cfg *Config) {
		cfg.Concurrency, cfg.KindConcurrency = 4, map[string]int{"other": 2}
		cfg.Hook = func(point string) {
			if point == "begin:made" {
				mu.Lock()
				c, n := current, limit
				mu.Unlock()
				c.enter(n)
			}
		}
	})
	t.Cleanup(first.let)
	t.Cleanup(second.let)
	for i := range 20 {
		b.put(t, strconv.Itoa(i), "x")
	}
	<-first.full
	mu.Lock()
	current, limit = second, 2
	mu.Unlock()
	// Below the place of the first; nothing is put there.
	b.exec(t, "INSERT INTO casq.kinds (kind, transfer, queue, prefix, source_prefix) VALUES ('other', 'file', 'artifact', 'other', '')")
	b.until(t, "0", func() bool { return b.log.has("wait for the runs of queue artifact") })
	first.let()
	<-second.full
	b.until(t, "0", func() bool { return b.log.has("queue=artifact workers=2") })
	second.let()
	b.until(t, "0", func() bool { return b.count(t, "synced_version = version") == 20 })
	if first.most != 4 || second.most != 2 {
		t.Errorf("%d and then %d runs at once, want 4 and 2", first.most, second.most)
	}
}
