package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/scripttest"
	"casq/internal/testing/testdb"

	"github.com/rogpeppe/go-internal/testscript"
)

// run is a testscript.TestingM.
type run func() int

func (r run) Run() int { return r() }

func TestMain(m *testing.M) {
	testscript.Main(run(func() int { return testdb.Run(m) }), map[string]func(){"worker": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	scripttest.Run(t, "testdata/script", func(tb testing.TB, env *testscript.Env) {
		env.Setenv("BUCKET_URL", bucket(tb))
	})
}

// bucket is as much of S3 as a copy needs. It has every key, and keys below
// hang/ are never answered.
func bucket(tb testing.TB) string {
	tb.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, _ := strings.CutPrefix(r.URL.Path, "/bucket/")
		if strings.HasPrefix(key, "hang/") {
			<-r.Context().Done()
			return
		}
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, key, time.Unix(1767225600, 0), strings.NewReader("bytes of "+key+"\n"))
	}))
	tb.Cleanup(server.Close)
	return "s3://bucket?anonymous=true&region=us-east-1&use_path_style=true&endpoint=" + server.URL
}
