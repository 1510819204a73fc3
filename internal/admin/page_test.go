package admin

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"
)

const evil = `<script>alert(1)</script>"'><img src=x onerror=alert(2)>` + "\x1b[2J\u202e"

var hidden = regexp.MustCompile(`<input type="hidden"[^>]*>`)

// What others have chosen is shown as text, on each page, and no page lets anything run
// that stands in it.
func TestNothingOfAnIDOrAnErrorIsExecuted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, version, failed_version, failure_reason, last_error)
		VALUES ('artifact', $1, 1, 1, 1, '{}', 5, 5, $1, $1)`, evil)
	b.exec(t, `INSERT INTO casq.workers (id, host, pid, version, schema_version, waiting) VALUES (gen_random_uuid(), $1, 1, $1, 1, $1)`, evil)
	b.exec(t, `INSERT INTO casq.audit (id, actor, via, origin, action) VALUES (gen_random_uuid(), $1, 'cli', $1, $1)`, evil)
	b.sampler.round(t.Context())
	query := form("kind", "artifact", "key", evil, "reason", evil, "action", "retry").Encode()
	for _, path := range []string{"/", "/resource?" + query, "/act?" + query, "/resource?" + form("kind", evil, "key", evil).Encode()} {
		got := b.call(t, http.MethodGet, path, nil)
		if !strings.Contains(got.body, "&lt;script&gt;") {
			t.Errorf("%s does not show it: %d", path[:9], got.status)
		}
		for _, bad := range []string{"<script>alert", "<img", "\x1b", "\u202e"} {
			// What a form sends again is as it was, and is not shown.
			if strings.Contains(hidden.ReplaceAllString(got.body, ""), bad) {
				t.Errorf("%s has %q", path[:9], bad)
			}
		}
		policy := got.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") {
			t.Errorf("the policy is %q", policy)
		}
	}
}

// A search that cannot be one asks the database for nothing.
func TestSearchTermsThatAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, query := range map[string]string{
		"nothing":     "",
		"no key":      form("kind", "artifact").Encode(),
		"a huge key":  form("kind", "artifact", "key", strings.Repeat("a", mostKey+1)).Encode(),
		"a huge kind": form("kind", strings.Repeat("a", 101), "key", "a").Encode(),
		"a NUL":       form("kind", "artifact", "key", "a\x00b").Encode(),
		"no text":     "kind=artifact&key=%ff%fe",
	} {
		if got := b.call(t, http.MethodGet, "/resource?"+query, nil); got.status != http.StatusBadRequest {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	if got := b.call(t, http.MethodPost, "/act", form("action", "resync", "kind", strings.Repeat("a", 2*bodyBytes))); got.status != http.StatusBadRequest {
		t.Errorf("a huge body: %d", got.status)
	}
}

// The page of a resource says why it is as it is, and what to run next.
func TestAResourceIsFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, version, failed_version, last_error)
		SELECT 'artifact', key, 1, 1, 1, '{}', 5, 5, 'disk full' FROM unnest(ARRAY['a', 'it''s b', 'c']) AS key`)
	got := b.call(t, http.MethodGet, "/resource?kind=artifact&key=it%27s+b", nil)
	for _, want := range []string{"is failed", "disk full", `enqueue resync --kind artifact --key &#39;it&#39;\&#39;&#39;s b&#39; --wait`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("no %q in %s", want, got.body)
		}
	}
	if got := b.call(t, http.MethodGet, "/resource?kind=artifact&key=b", nil); got.status != http.StatusNotFound || !strings.Contains(got.body, "key=it%27s%20b") {
		t.Errorf("what is near: %d %s", got.status, got.body)
	}
}

// events reads the stream of events, frame by frame.
func (b *testBundle) events(t *testing.T) (next func() string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.http.URL+"/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	response, err := (&http.Client{Timeout: time.Minute}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the stream is %d", response.StatusCode)
	}
	lines := bufio.NewScanner(response.Body)
	return func() string {
		var frame strings.Builder
		for lines.Scan() && lines.Text() != "" {
			frame.WriteString(strings.TrimPrefix(lines.Text(), "data: ") + "\n")
		}
		return frame.String()
	}
}

// Any number of open pages costs no query, what is too many is refused, and all end with
// the server.
func TestStreamsShareASample(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *Config) { c.Streams = 20 })
	var open []func() string
	for range 20 {
		next := b.events(t)
		if frame := next(); !strings.Contains(frame, "has not been read yet") {
			t.Fatalf("the first frame is %q", frame)
		}
		open = append(open, next)
	}
	got := b.call(t, http.MethodGet, "/events", nil)
	if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("one more: %d", got.status)
	}
	before := b.home.Stat().AcquireCount()
	b.rows(t, "artifact", 7, "disk full")
	b.sampler.round(t.Context())
	once := b.home.Stat().AcquireCount() - before
	for _, next := range open {
		if frame := next(); !strings.Contains(frame, "disk full") {
			t.Fatalf("the next frame is %q", frame)
		}
	}
	if all := b.home.Stat().AcquireCount() - before; all != once || once > 20 {
		t.Errorf("%d queries for 20 pages, %d for the sample", all, once)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b.Run(ctx)
	for _, next := range open {
		if frame := next(); frame != "" {
			t.Fatalf("after the end: %q", frame)
		}
	}
}

// While nobody looks samples are rare; who comes to look does not wait for the next one.
func TestALookWakesTheSampler(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *Config) { c.Interval = 24 * time.Hour })
	b.browse(t)
	taken := func(n int) func() bool {
		return func() bool {
			b.sampler.mu.Lock()
			defer b.sampler.mu.Unlock()
			return len(b.sampler.points) == n
		}
	}
	await.True(t, time.Minute, "the first sample is taken", taken(1))
	b.call(t, http.MethodGet, "/", nil)
	await.True(t, time.Minute, "another one is taken", taken(2))
}

// A page that takes nothing of what it is sent is dropped, and has its place no more.
func TestAStreamThatDoesNotReadIsDropped(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *Config) { c.Streams, c.WriteTimeout = 1, 50*time.Millisecond })
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", b.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET /events HTTP/1.1\r\nHost: casq\r\nAuthorization: Bearer %s\r\n\r\n", secret); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	b.rows(t, "artifact", 1, strings.Repeat("no space left ", 10_000))
	// Frames come until its buffers are full, and it is dropped.
	left := func() bool {
		b.sampler.mu.Lock()
		defer b.sampler.mu.Unlock()
		return b.sampler.streams == 0
	}
	for !left() {
		b.sampler.round(t.Context())
	}
}

// While the database cannot be reached the page says so, with what was known; afterwards
// it is as it was.
func TestTheDatabaseGoesAndComesBack(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t)
	b := setupOn(t, cluster.URL())
	b.rows(t, "artifact", 7, "disk full")
	b.sampler.round(t.Context())
	if err := cluster.Primary.StopFast(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.sampler.round(t.Context())
	got := b.call(t, http.MethodGet, "/", nil)
	if got.status != http.StatusOK || !strings.Contains(got.body, "The database does not answer") || !strings.Contains(got.body, "disk full") || strings.Contains(got.body, "is well") {
		t.Errorf("while it is away: %d %s", got.status, got.body)
	}
	if got := b.call(t, http.MethodGet, "/resource?kind=artifact&key=r1", nil); got.status != http.StatusServiceUnavailable {
		t.Errorf("a look-up meanwhile: %d", got.status)
	}
	if err := cluster.Primary.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.sampler.round(t.Context())
	if got := b.call(t, http.MethodGet, "/", nil); strings.Contains(got.body, "does not answer") {
		t.Errorf("afterwards: %s", got.body)
	}
}

// A database that hangs in the middle of a sample is said not to answer, since it has; it
// is not asked for each part that is left.
func TestTheDatabaseHangs(t *testing.T) {
	long.Test(t)
	t.Parallel()
	cluster := testdb.NewCluster(t)
	b := setupOn(t, cluster.URL())
	b.sampler.round(t.Context())
	last := b.sampler.last.At
	locked, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := locked.Exec(t.Context(), "LOCK casq.runners"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.sampler.round(t.Context())
	}()
	await.Row(t, time.Minute, b.pool, "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'casq.runners'::regclass AND NOT granted)")
	if err := cluster.Primary.Freeze(); err != nil {
		t.Fatal(err)
	}
	<-ended
	got := b.call(t, http.MethodGet, "/", nil)
	if err := cluster.Primary.Thaw(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got.body, "The database does not answer") || !b.sampler.since.Equal(last) {
		t.Errorf("since %v, last read %v: %s", b.sampler.since, last, got.body)
	}
	_ = locked.Rollback(t.Context()) // its session may have ended for being idle
	b.sampler.round(t.Context())
	if got := b.call(t, http.MethodGet, "/", nil); strings.Contains(got.body, "does not answer") {
		t.Errorf("afterwards: %s", got.body)
	}
}

// Each part can be read, also of a site where nothing has happened yet.
func TestNoPartIsMissing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sampler.round(t.Context())
	if missing := b.sampler.last.Missing; len(missing) > 0 {
		t.Errorf("parts are missing: %q", missing)
	}
}

// A part that cannot be read is named, and the others are shown.
func TestAPartThatIsMissing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.rows(t, "artifact", 7, "disk full")
	b.exec(t, "ALTER TABLE casq.runners RENAME TO runners_away")
	b.sampler.round(t.Context())
	if got := b.call(t, http.MethodGet, "/", nil); !strings.Contains(got.body, "Not known: builds: ") || !strings.Contains(got.body, "disk full") {
		t.Errorf("got %s", got.body)
	}
}

// What is left gets less at a rate, and is done after a time.
func TestRateAndETA(t *testing.T) {
	t.Parallel()
	b := setup(t)
	now := time.Now()
	take := func(ago time.Duration, open int64) kind {
		s := &sample{At: now.Add(-ago), Kinds: []kind{{Kind: "artifact", Open: open}}}
		b.sampler.keep(s)
		return s.Kinds[0]
	}
	take(2*time.Hour, 9000)
	take(6*time.Minute, 5000)
	take(4*time.Minute, 500)
	if k := take(0, 100); k.Rate != 100 || k.ETA != time.Minute {
		t.Errorf("%v a minute, %v", k.Rate, k.ETA)
	}
	if k := take(0, 600); k.Rate != 0 || k.ETA != 0 {
		t.Errorf("of what grows: %v a minute, %v", k.Rate, k.ETA)
	}
	if n := len(b.sampler.points); n != 4 {
		t.Errorf("%d samples are kept, want those of the last hour", n)
	}
}
