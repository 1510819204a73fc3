package redisurl

import (
	"testing"

	"casq/internal/testing/tlsproxy"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOpen(t *testing.T) {
	t.Parallel()
	cert, key := tlsproxy.KeyPair(t, t.TempDir(), 1)
	for url, want := range map[string]string{
		"redis://:secret@host:6379/2":                         "server",
		"rediss://host":                                       "server",
		"unix:///run/redis.sock":                              "server",
		"redis://one:26379/1?master_name=casq&addr=two:26379": "sentinel",
		"redis://one:6379?addr=two:6379&addr=three:6379":      "cluster",
		"localhost:6379":                                      "",
		"redis://host/zero":                                   "",
		"redis://host?master_name=casq&nonsense=1":            "",
		"redis://host?addr=two:6379&nonsense=1":               "",
		"redis://host:6379/\x7f":                              "",
		"redis://host?sslrootcert=" + cert:                    "",
		"rediss://host?sslrootcert=/none":                     "",
		"rediss://host?sslrootcert=" + key:                    "",
		"rediss://host?sslrootcert=" + cert:                   "server",
		"rediss://one?master_name=casq&sslrootcert=" + cert:   "sentinel",
		"rediss://one?addr=two:6379&sslrootcert=" + cert:      "cluster",
	} {
		client, err := Open(url)
		got := ""
		switch c := client.(type) {
		case *redis.ClusterClient:
			got = "cluster"
		case *redis.Client:
			got = "server"
			if c.Options().Addr == "FailoverClient" {
				got = "sentinel"
			}
		}
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q opens %q, %v; want %q", url, got, err, want)
		}
		if err == nil {
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
