package redisurl_test

import (
	"net/url"
	"testing"

	"casq/internal/redisurl"
	"casq/internal/testing/testredis"
	"casq/internal/testing/tlsproxy"
)

// A server is trusted by the file that the URL names, and by nothing else.
func TestOverTLS(t *testing.T) {
	t.Parallel()
	at, err := url.Parse(testredis.Start(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	addr, cert := tlsproxy.Start(t, at.Path, false)
	other, _ := tlsproxy.KeyPair(t, t.TempDir(), 2)
	for query, want := range map[string]bool{"": false, "?sslrootcert=" + other: false, "?sslrootcert=" + cert: true} {
		client, err := redisurl.Open("rediss://" + addr + query)
		if err != nil {
			t.Fatal(err)
		}
		err = client.Ping(t.Context()).Err()
		if (err == nil) != want {
			t.Errorf("%q: %v", query, err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
}
