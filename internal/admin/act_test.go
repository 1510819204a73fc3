package admin

import (
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// acted is what stands in casq.audit.
func (b *testBundle) acted(t *testing.T) string {
	t.Helper()
	return b.text(t, `SELECT coalesce(string_agg(concat_ws(' | ', actor, via, origin, action, touches, changed::text, job IS NOT NULL), E'\n' ORDER BY asked_at), '')
		FROM casq.audit`)
}

// Each action says beforehand what it touches, does it, and is recorded with who asked.
func TestActions(t *testing.T) {
	t.Parallel()
	failed := func(t *testing.T, b *testBundle) {
		b.rows(t, "artifact", 7, "disk full")
		b.rows(t, "artifact", 2, "")
		b.rows(t, "repository", 3, "disk full")
	}
	for name, test := range map[string]struct {
		form    []string
		before  func(t *testing.T, b *testBundle)
		says    string // what is said beforehand
		audited string
		check   string // a query that is true afterwards
	}{
		"resync": {
			[]string{"kind", "artifact"}, failed, "touches <strong>9</strong> resources",
			`resync --kind artifact --all | 9 | {"river_job": 1, "river_job statements": 1} | t`,
			"SELECT args ->> 'action' = 'resync' AND args ->> 'of_kind' = 'artifact' AND queue = 'casq_requests' FROM river.river_job",
		},
		"verify": {
			[]string{"kind", "artifact"}, func(t *testing.T, b *testBundle) {
				failed(t, b)
				b.exec(t, "UPDATE casq.registry SET synced_version = version WHERE failed_version IS NULL")
			}, "touches <strong>2</strong> resources",
			`verify --kind artifact --all | 2 | {"river_job": 1, "river_job statements": 1} | t`,
			"SELECT args ->> 'action' = 'verify' FROM river.river_job",
		},
		"retry": {
			[]string{"kind", "artifact", "reason", "disk full"}, failed, "touches <strong>7</strong> resources",
			`resync --kind artifact --failed, of disk full | 7 | {"river_job": 1, "river_job statements": 1} | t`,
			"SELECT args ->> 'reason' = 'disk full' AND (args ->> 'failed_only')::boolean FROM river.river_job",
		},
		"resync-one": {
			[]string{"kind", "artifact", "key", "r1"}, failed, "touches <strong>1</strong> resource.",
			`resync --kind artifact --key r1 | 1 | {"registry": 1, "river_job": 1, "river_job statements": 1} | f`,
			"SELECT failed_version < version FROM casq.registry WHERE resource_id = 'r1'",
		},
		"verify-one": {
			[]string{"kind", "artifact", "key", "r1"}, func(t *testing.T, b *testBundle) {
				failed(t, b)
				b.exec(t, "UPDATE casq.registry SET synced_version = version")
			}, "touches <strong>1</strong> resource.",
			`verify --kind artifact --key r1 | 1 | {"river_job": 1, "river_job statements": 1} | f`,
			"SELECT kind = 'casq_verify' FROM river.river_job",
		},
		"cancel-one": {
			[]string{"kind", "artifact", "key", "r8"}, failed, "touches <strong>1</strong> resource.",
			`cancel --kind artifact --key r8 | 1 | {"registry": 1} | f`,
			"SELECT failed_version = version AND last_error = 'cancelled by an operator' FROM casq.registry WHERE resource_id = 'r8'",
		},
		"pause": {
			[]string{"queue", "artifact"}, func(t *testing.T, b *testBundle) {
				b.exec(t, "INSERT INTO river.river_queue (name, created_at, updated_at) VALUES ('artifact', now(), now())")
			}, "Workers take no more jobs",
			`queue pause artifact | {"river_queue": 1} | f`, "SELECT paused_at IS NOT NULL FROM river.river_queue WHERE name = 'artifact'",
		},
		"resume": {
			[]string{"queue", "artifact"}, func(t *testing.T, b *testBundle) {
				b.exec(t, "INSERT INTO river.river_queue (name, created_at, updated_at) VALUES ('artifact', now(), now())")
				b.exec(t, "UPDATE river.river_queue SET paused_at = now()")
			}, "Workers take jobs of it again",
			`queue resume artifact | {"river_queue": 1} | f`, "SELECT paused_at IS NULL FROM river.river_queue WHERE name = 'artifact'",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			test.before(t, b)
			fields := form(append([]string{"action", name}, test.form...)...)
			if got := b.call(t, http.MethodGet, "/act?"+fields.Encode(), nil); got.status != http.StatusOK || !strings.Contains(got.body, test.says) {
				t.Errorf("beforehand: %d, no %q in %s", got.status, test.says, got.body)
			}
			if got := b.acted(t); got != "" {
				t.Fatalf("asking has changed something: %s", got)
			}
			if got := b.call(t, http.MethodPost, "/act", fields); got.status != http.StatusSeeOther {
				t.Fatalf("it came to %d: %s", got.status, got.body)
			}
			if got, want := b.acted(t), "alice | page | 127.0.0.1 | "+test.audited; got != want {
				t.Errorf("recorded is\n%s, want\n%s", got, want)
			}
			if got := b.text(t, "SELECT ("+test.check+")::text"); got != "true" {
				t.Errorf("%s: %s", test.check, got)
			}
		})
	}
}

// What is not there is refused, and recorded nowhere.
func TestActionsThatAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, test := range map[string]struct {
		status int
		form   []string
	}{
		"no action":                {http.StatusBadRequest, nil},
		"unknown action":           {http.StatusBadRequest, []string{"action", "drop"}},
		"no kind":                  {http.StatusBadRequest, []string{"action", "resync"}},
		"no key":                   {http.StatusBadRequest, []string{"action", "resync-one", "kind", "artifact"}},
		"unknown kind":             {http.StatusNotFound, []string{"action", "resync", "kind", "nonsense"}},
		"unknown resource":         {http.StatusConflict, []string{"action", "resync-one", "kind", "artifact", "key", "b"}},
		"unknown queue":            {http.StatusNotFound, []string{"action", "pause", "queue", "b"}},
		"all queues":               {http.StatusNotFound, []string{"action", "pause", "queue", "*"}},
		"no request":               {http.StatusBadRequest, []string{"action", "stop", "request", "b"}},
		"unknown request":          {http.StatusNotFound, []string{"action", "stop", "request", "00000000-0000-0000-0000-000000000001"}},
		"a queue that is no text":  {http.StatusBadRequest, []string{"action", "pause", "queue", "a\x00b"}},
		"a reason that is no text": {http.StatusBadRequest, []string{"action", "retry", "kind", "artifact", "reason", "\xff"}},
		"a huge reason":            {http.StatusBadRequest, []string{"action", "retry", "kind", "artifact", "reason", strings.Repeat("a", mostKey+1)}},
	} {
		if got := b.call(t, http.MethodPost, "/act", form(test.form...)); got.status != test.status {
			t.Errorf("%s: %d, want %d: %s", name, got.status, test.status, got.body)
		}
	}
	if got := b.call(t, http.MethodGet, "/act?action=nonsense", nil); got.status != http.StatusBadRequest {
		t.Errorf("GET: %d", got.status)
	}
	if got := b.acted(t); got != "" {
		t.Errorf("recorded: %s", got)
	}
}

// A recount is asked for of whoever has the counters.
func TestARefreshIsHandedOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if got := b.call(t, http.MethodPost, "/act", form("action", "refresh", "kind", "artifact")); got.status != http.StatusSeeOther || len(b.refreshed) != 1 {
		t.Errorf("%d, refreshed %v", got.status, b.refreshed)
	}
}

// The overview shows how far a request is, and stops it.
func TestARequestIsShownAndStopped(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.rows(t, "artifact", 7, "disk full")
	b.call(t, http.MethodPost, "/act", form("action", "resync", "kind", "artifact"))
	id := b.text(t, "SELECT id::text FROM casq.audit")
	b.exec(t, `UPDATE casq.audit SET changed = changed || '{"registry": 3}'`)
	b.sampler.round(t.Context())
	if got := b.call(t, http.MethodGet, "/", nil); !strings.Contains(got.body, "3 of 7") || !strings.Contains(got.body, "/act?action=stop&amp;request="+id) {
		t.Errorf("got %s", got.body)
	}
	if got := b.call(t, http.MethodPost, "/act", form("action", "stop", "request", id)); got.status != http.StatusSeeOther {
		t.Fatalf("it came to %d: %s", got.status, got.body)
	}
	if got := b.text(t, "SELECT state::text FROM river.river_job"); got != "cancelled" {
		t.Errorf("its job is %s", got)
	}
	b.sampler.round(t.Context())
	if got := b.call(t, http.MethodGet, "/", nil); strings.Contains(got.body, "action=stop&amp;request="+id) || !strings.Contains(got.body, "cancelled") {
		t.Errorf("afterwards: %s", got.body)
	}
}

// What nobody would carry out is not taken: a worker that copies nothing serves no requests.
func TestARequestThatNoWorkerServes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.rows(t, "artifact", 7, "disk full")
	b.exec(t, "DELETE FROM river.river_queue")
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		if got := b.call(t, method, "/act?action=resync&kind=artifact", nil); got.status != http.StatusConflict {
			t.Errorf("%s: %d", method, got.status)
		}
	}
	if got := b.acted(t); got != "" {
		t.Errorf("recorded: %s", got)
	}
}

// A database that does not answer has not said that there is no such queue.
func TestAnActionWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.home.Close()
	if got := b.call(t, http.MethodPost, "/act", form("action", "pause", "queue", "artifact")); got.status != http.StatusServiceUnavailable {
		t.Errorf("it came to %d: %s", got.status, got.body)
	}
}

var (
	formOfAction = regexp.MustCompile(`<form method="post" action="(/act[^"]*)"`)
	hiddenField  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// submit sends the form of the page before an action, as a browser does: with CRLF for each
// line end in its fields.
func (b *testBundle) submit(t *testing.T, before string) answer {
	t.Helper()
	action := formOfAction.FindStringSubmatch(before)
	if action == nil {
		t.Fatalf("there is no form in %s", before)
	}
	fields := url.Values{}
	for _, field := range hiddenField.FindAllStringSubmatch(before, -1) {
		fields.Set(field[1], strings.ReplaceAll(html.UnescapeString(field[2]), "\n", "\r\n"))
	}
	return b.call(t, http.MethodPost, html.UnescapeString(action[1]), fields)
}

// What an action is about arrives as it was, also when it has line ends.
func TestAReasonOfTwoLines(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.rows(t, "artifact", 2, "one\ntwo")
	before := b.call(t, http.MethodGet, "/act?"+form("action", "retry", "kind", "artifact", "reason", "one\ntwo").Encode(), nil)
	if got := b.submit(t, before.body); got.status != http.StatusSeeOther {
		t.Fatalf("it came to %d: %s", got.status, got.body)
	}
	if got := b.text(t, "SELECT args ->> 'reason' FROM river.river_job"); got != "one\ntwo" {
		t.Errorf("it is about %q", got)
	}
}

// A form that is sent twice, by a second click or a proxy that tries again, is one request;
// recorded is what its page has said that it touches.
func TestAFormThatIsSentTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.rows(t, "artifact", 7, "disk full")
	before := b.call(t, http.MethodGet, "/act?action=resync&kind=artifact", nil)
	b.rows(t, "artifact", 2, "disk full")
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			if got := b.submit(t, before.body); got.status != http.StatusSeeOther {
				t.Errorf("it came to %d: %s", got.status, got.body)
			}
		})
	}
	group.Wait()
	if got, want := b.acted(t), `alice | page | 127.0.0.1 | resync --kind artifact --all | 7 | {"river_job": 1, "river_job statements": 1} | t`; got != want {
		t.Errorf("recorded is\n%s, want\n%s", got, want)
	}
	if got := b.text(t, "SELECT count(*)::text FROM river.river_job"); got != "1" {
		t.Errorf("%s jobs", got)
	}
}
