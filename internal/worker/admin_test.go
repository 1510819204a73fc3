package worker

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"casq/internal/admin"
	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/token"
)

const adminSecret = "alice's own secret"

var adminAddr = regexp.MustCompile(`admin_addr=(\S+)`)

// page calls the page as alice, and reads all of its answer; 0: it does not listen yet.
func (b *testBundle) page(t *testing.T, method, path string, form url.Values) (status int, body string) {
	t.Helper()
	status, answer := b.open(t, method, path, form)
	if status == 0 {
		return 0, ""
	}
	text, err := io.ReadAll(answer)
	if err != nil {
		t.Fatal(err)
	}
	return status, string(text)
}

// open is likewise, and leaves the answer to be read, until the test ends.
func (b *testBundle) open(t *testing.T, method, path string, form url.Values) (status int, answer io.Reader) {
	t.Helper()
	b.log.mu.Lock()
	addr := adminAddr.FindStringSubmatch(b.log.said.String())
	b.log.mu.Unlock()
	if addr == nil {
		return 0, nil
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr[1]+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+adminSecret)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	client := &http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response.StatusCode, response.Body
}

// What is asked for on the page a worker carries out, and the page tells how far it is. A
// worker's role may all that it takes. Pages that are open do not keep it from stopping.
func TestThePageActs(t *testing.T) {
	t.Parallel()
	long.Test(t)
	b := setup(t, func(c *Config) {
		c.AdminAddr, c.AdminDoor = "127.0.0.1:0", admin.Door{Tokens: []token.Token{{Name: "alice", Secret: adminSecret}}}
	})
	for _, name := range []string{"a", "b", "c"} {
		b.put(t, name, name)
	}
	b.until(t, "c", func() bool { return b.count(t, "synced_version = version") == 3 })
	await.True(t, 20*time.Second, "requests are served", func() bool {
		return b.text(t, "SELECT EXISTS (SELECT FROM river.river_queue WHERE name = 'casq_requests')::text") == "true"
	})
	before := b.text(t, "SELECT max(version)::text FROM casq.registry")
	if status, body := b.page(t, http.MethodPost, "/act", url.Values{"action": {"resync"}, "kind": {"artifact"}}); status != http.StatusSeeOther {
		t.Fatalf("resync is answered with %d: %s", status, body)
	}
	b.until(t, "a", func() bool { return b.count(t, "version > "+before+" AND synced_version = version") == 3 })
	if status, body := b.page(t, http.MethodPost, "/act", url.Values{"action": {"refresh"}, "kind": {"artifact"}}); status != http.StatusSeeOther {
		t.Fatalf("refresh is answered with %d: %s", status, body)
	}
	// Completed, it has a state until its job is deleted.
	await.True(t, 20*time.Second, "the page has it", func() bool {
		_, body := b.page(t, http.MethodGet, "/", nil)
		if strings.Contains(body, "Not known") {
			t.Fatalf("parts are missing: %s", body)
		}
		return strings.Contains(body, "registry 3, river_job 4") && strings.Contains(body, "refresh --kind artifact --all") && strings.Contains(body, "completed")
	})
}

// While its database is away a worker has the page, which says so; open pages do not keep it
// from stopping.
func TestThePageIsThereBeforeTheDatabase(t *testing.T) {
	t.Parallel()
	log := &testLog{t: t}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{
			HomeURL: "postgres://nobody@127.0.0.1:1/nowhere", AdminAddr: "127.0.0.1:0", Logger: slog.New(slog.NewTextHandler(log, nil)),
			AdminDoor: admin.Door{Tokens: []token.Token{{Name: "alice", Secret: adminSecret}}},
		})
	}()
	b := &testBundle{log: log}
	await.True(t, 20*time.Second, "the page says so", func() bool {
		_, body := b.page(t, http.MethodGet, "/", nil)
		return strings.Contains(body, "The database does not answer")
	})
	_, stream := b.open(t, http.MethodGet, "/events", nil)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("worker: %v", err)
	}
	if frames, err := io.ReadAll(stream); err != nil || !strings.Contains(string(frames), "does not answer") {
		t.Errorf("the open page has got %q, and ended with %v", frames, err)
	}
}

func (b *testBundle) text(t *testing.T, sql string) (text string) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), sql).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}
