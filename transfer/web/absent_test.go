package web

import (
	"net/http"
	"sync/atomic"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

// A 404 tells of a file where the server is one that has files at the address; of another
// server, or a proxy that has lost its way, it would tell that all files are missing.
func TestA404(t *testing.T) {
	t.Parallel()
	answer := func(code int, marked bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if marked {
				w.Header().Set(SourceHeader, "1")
			}
			w.WriteHeader(code)
		}
	}
	file := func(w http.ResponseWriter, r *http.Request) { has(w, r, `"1"`, content) }
	for name, c := range map[string]struct {
		base, before, file http.HandlerFunc
		want               error
	}{
		"of a worker":                               {base: answer(204, true), file: answer(404, true), want: transfer.ErrMissing},
		"of a proxy before a worker":                {base: answer(204, true), file: answer(404, false), want: transfer.ErrAway},
		"of a proxy, once the worker has answered":  {base: answer(404, false), before: answer(404, true), file: answer(404, false), want: transfer.ErrAway},
		"of a server that has such an address":      {base: answer(403, false), file: answer(404, false), want: transfer.ErrMissing},
		"of one that has none":                      {base: answer(404, false), file: answer(404, false), want: transfer.ErrAway},
		"of one that has none, and has sent a file": {base: answer(404, false), before: file, file: answer(410, false), want: transfer.ErrMissing},
		"of one that does not answer about it":      {base: answer(503, false), file: answer(404, false), want: transfer.ErrAway},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var later atomic.Bool
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.URL.Path == "/files/":
					c.base(w, r)
				case c.before != nil && !later.Load():
					c.before(w, r)
				default:
					c.file(w, r)
				}
			})
			source := open(t, Config{URL: s.URL + "/files"})
			if c.before != nil {
				if o, err := source.Open(t.Context(), "a"); err == nil {
					transfertest.Must(t, o.Close())
				}
				later.Store(true)
			}
			for range 2 {
				_, err := source.Open(t.Context(), "a")
				transfertest.WantError(t, err, c.want)
			}
			bases := 0
			for _, r := range s.requests() {
				if r.URL.Path == "/files/" {
					bases++
				}
			}
			if bases > 1 && name != "of one that does not answer about it" {
				t.Errorf("the address itself was asked for %d times", bases)
			}
		})
	}
}
