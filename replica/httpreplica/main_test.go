package httpreplica_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/replica"
	"casq/replica/httpreplica"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// site is a bench, and an application: PUT writes document a, GET reads it, and
// tells which kind of host it was read from.
type site struct {
	*replicatest.Bench
	db *replica.DB
}

func newSite(t testing.TB) *site {
	t.Helper()
	bench := replicatest.New(t, 1)
	bench.Exec(t, "INSERT INTO documents VALUES ('a', 'old')")
	return &site{bench, bench.Open(t, replica.Options{})}
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var err error
	if r.Method == http.MethodPut {
		_, err = s.db.Exec(r.Context(), "UPDATE documents SET body = $1", r.URL.Query().Get("body"))
		w.WriteHeader(http.StatusNoContent)
	} else {
		var body string
		err = s.db.QueryRow(r.Context(), "SELECT body FROM documents WHERE id = 'a'").Scan(&body)
		_, _ = io.WriteString(w, body)
	}
	if err != nil {
		panic(err)
	}
}

func (s *site) serve(t *testing.T, m httpreplica.Middleware, next http.Handler) *httptest.Server {
	t.Helper()
	m.DB = s.db
	server := httptest.NewServer(m.Wrap(next))
	t.Cleanup(server.Close)
	return server
}

// answer is a response that was read to its end.
type answer struct {
	StatusCode      int
	Header, Trailer http.Header
	Cookies         []*http.Cookie
}

// send sends a request with some header lines, name and value by turns.
func send(t *testing.T, client *http.Client, method, url string, lines ...string) (answer, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(lines); i += 2 {
		r.Header.Add(lines[i], lines[i+1])
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, response.Trailer, response.Cookies()}, string(body)
}
