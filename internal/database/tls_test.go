package database_test

import (
	"net/url"
	"testing"

	"casq/internal/database"
	"casq/internal/testing/testdb"
	"casq/internal/testing/tlsproxy"
)

// With verify-full a server is trusted by the file that the URL names, and by nothing
// else; and no session begins without TLS.
func TestOverTLS(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	direct, err := url.Parse(db.URL)
	if err != nil {
		t.Fatal(err)
	}
	query := direct.Query()
	addr, cert := tlsproxy.Start(t, query.Get("host")+"/.s.PGSQL."+query.Get("port"), true)
	other, _ := tlsproxy.KeyPair(t, t.TempDir(), 2)
	for params, want := range map[string]bool{
		"sslmode=verify-full":                      false,
		"sslmode=verify-full&sslrootcert=" + other: false,
		"sslmode=verify-full&sslrootcert=" + cert:  true,
	} {
		over := url.URL{Scheme: "postgres", User: direct.User, Host: addr, Path: "/" + db.Name, RawQuery: params}
		pool, err := database.Open(t.Context(), over.String(), database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := pool.Ping(t.Context()); (err == nil) != want {
			t.Errorf("%s: %v", params, err)
		}
		pool.Close()
	}
}
