package admin

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"casq/internal/database"
	"casq/internal/testing/testdb"
	"casq/internal/token"

	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { testdb.Main(m) }

const secret = "alice's own secret"

// testBundle is a server of the pages, whose samples the test takes.
type testBundle struct {
	*Server
	pool      *pgxpool.Pool
	http      *httptest.Server
	refreshed []string
}

func setup(t *testing.T, change ...func(*Config)) *testBundle {
	t.Helper()
	return setupOn(t, testdb.New(t).URL, change...)
}

func setupOn(t *testing.T, url string, change ...func(*Config)) *testBundle {
	t.Helper()
	pool, err := database.Open(t.Context(), url, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	b := &testBundle{pool: pool}
	cfg := Config{
		HomeURL: url, Door: Door{Tokens: []token.Token{{Name: "alice", Secret: secret}}}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Refresh: func(_ context.Context, kind string) error {
			b.refreshed = append(b.refreshed, kind)
			return nil
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	if b.Server, err = New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	b.http = httptest.NewServer(b.Server)
	t.Cleanup(b.http.Close)
	b.exec(t, "SELECT casq.define_kind('artifact', 'file'), casq.define_kind('repository', 'git')")
	b.exec(t, "INSERT INTO river.river_queue (name, created_at, updated_at) VALUES ('casq_requests', now(), now())")
	return b
}

func (b *testBundle) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	if _, err := b.pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func (b *testBundle) text(t *testing.T, sql string) (text string) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), sql).Scan(&text); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return text
}

// rows are n resources of a kind that have failed for a reason, or are pending.
func (b *testBundle) rows(t *testing.T, kind string, n int, reason string) {
	t.Helper()
	b.exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, version, failed_version, failure_reason, last_error)
		SELECT $1, 'r' || v, 1, 1, 1, '{}', v, CASE WHEN $3 <> '' THEN v END, nullif($3, ''), nullif($3, '')
		FROM (SELECT nextval('casq.registry_version') AS v FROM generate_series(1, $2)) AS r`, kind, n, reason)
}

// answer is what came of a request.
type answer struct {
	status int
	header http.Header
	body   string
}

// call sends a request, as alice unless it is changed, and follows no redirect.
func (b *testBundle) call(t *testing.T, method, path string, form url.Values, change ...func(*http.Request)) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, b.http.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, f := range change {
		f(r)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: time.Minute}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

func nobody(r *http.Request) { r.Header.Del("Authorization") }

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func form(pairs ...string) url.Values {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return values
}
