package admin

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// job is one that waits.
func (b *testBundle) job(t *testing.T) (id string) {
	t.Helper()
	return b.text(t, `INSERT INTO river.river_job (args, kind, max_attempts, queue, state) VALUES ('{"kind": "artifact", "resource_id": "a"}', 'casq_sync', 25, 'artifact', 'available')
		RETURNING id::text`)
}

func asJSON(r *http.Request) { r.Header.Set("Content-Type", "application/json") }

// body is that of a request.
func body(text string) func(*http.Request) {
	return func(r *http.Request) {
		replaced, _ := http.NewRequestWithContext(r.Context(), r.Method, "/", strings.NewReader(text))
		r.Body, r.ContentLength = replaced.Body, replaced.ContentLength
	}
}

// What is changed on River's own pages is recorded with who asked, and is behind the same
// door; they count nothing while nobody looks.
func TestRiversPagesAreBehindTheDoor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.job(t)
	if got := b.call(t, http.MethodGet, "/river/api/jobs", nil, nobody); got.status != http.StatusSeeOther {
		t.Errorf("nobody looks: %d", got.status)
	}
	if got := b.call(t, http.MethodPost, "/river/api/jobs/cancel", nil, nobody, asJSON, body(`{"ids": ["`+id+`"]}`)); got.status != http.StatusUnauthorized {
		t.Errorf("nobody cancels: %d", got.status)
	}
	if got := b.call(t, http.MethodGet, "/river/api/jobs?state=available", nil); got.status != http.StatusOK || !strings.Contains(got.body, `"casq_sync"`) {
		t.Errorf("alice looks: %d %s", got.status, got.body)
	}
	if got := b.call(t, http.MethodPost, "/river/api/jobs/cancel", nil, asJSON, body(`{"ids": ["`+id+`"]}`)); got.status != http.StatusOK {
		t.Errorf("alice cancels: %d %s", got.status, got.body)
	}
	if got, want := b.acted(t), `alice | river | 127.0.0.1 | POST jobs/cancel {"ids": ["`+id+`"]} | {"river_job statements": 1} | f`; got != want {
		t.Errorf("recorded is %s, want %s", got, want)
	}
	if got := b.call(t, http.MethodPost, "/river/api/jobs/delete", nil, asJSON, body(`{"ids": ["999999"]}`)); got.status != http.StatusNotFound {
		t.Errorf("a job that is not there: %d %s", got.status, got.body)
	}
	if got := b.text(t, "SELECT count(*)::text FROM casq.audit"); got != "1" {
		t.Errorf("%s requests are recorded", got)
	}
	if got := b.call(t, http.MethodPost, "/river/api/jobs/retry", nil, asJSON, body(strings.Repeat(" ", 2*bodyBytes))); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a huge body: %d", got.status)
	}
}

// Without a token River's pages are there to look at.
func TestRiversPagesWithoutAToken(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *Config) { c.Door = Door{} })
	id := b.job(t)
	if got := b.call(t, http.MethodGet, "/river/api/states", nil); got.status != http.StatusOK || !strings.Contains(got.body, `"available":{"accuracy":`) {
		t.Errorf("looks: %d %s", got.status, got.body)
	}
	if got := b.call(t, http.MethodPost, "/river/api/jobs/delete", nil, asJSON, body(`{"ids": ["`+id+`"]}`)); got.status != http.StatusForbidden {
		t.Errorf("deletes: %d", got.status)
	}
}

// River's pages run under the policy that they are given.
func TestRiversPagesInABrowser(t *testing.T) {
	t.Parallel()
	ctx := open(t)
	b := setup(t)
	b.job(t)
	b.signsIn(ctx, t)
	run(ctx, t, chromedp.Navigate(b.http.URL+"/river/jobs?state=available"), shows("casq_sync"))
	if *screenshots != "" {
		picture(ctx, t, filepath.Join(*screenshots, "river.png"))
	}
}
