package httpreplica_test

import (
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"casq/internal/testing/long"
	"casq/replica"
	"casq/replica/httpreplica"
)

func TestAHeaderCarriesWhatWasWritten(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	server := s.serve(t, httpreplica.Middleware{Header: "X-Position"}, s)
	s.Pause(t)
	written, _ := send(t, server.Client(), http.MethodPut, server.URL+"?body=new")
	token := written.Header.Get("X-Position")
	if token == "" || written.Header.Get("Cache-Control") == "" {
		t.Fatalf("the answer to a write has the header %v", written.Header)
	}
	if _, body := send(t, server.Client(), http.MethodGet, server.URL, "X-Position", token); body != "new" {
		t.Errorf("with its token the writer reads %q", body)
	}
	if _, body := send(t, server.Client(), http.MethodGet, server.URL, "X-Position", "v1.1.1, "+token); body != "new" {
		t.Errorf("with two tokens the writer reads %q", body)
	}
	if _, body := send(t, server.Client(), http.MethodGet, server.URL); body != "old" {
		t.Errorf("a stranger reads %q, not from the standby", body)
	}
	s.Resume(t)
	if err := s.Cluster.Standbys[0].WaitReplayed(t.Context(), s.Cluster.Primary); err != nil {
		t.Fatal(err)
	}
	answer, body := send(t, server.Client(), http.MethodGet, server.URL, "X-Position", token)
	if body != "new" || answer.Header.Get("X-Position") != "" {
		t.Errorf("read %q; the client's own token came back: %v", body, answer.Header)
	}
}

func TestACookieCarriesWhatWasWritten(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	for name, keys := range map[string][][]byte{"plain": nil, "signed": {[]byte("key")}} {
		server := s.serve(t, httpreplica.Middleware{Cookie: "position", Keys: keys, Insecure: true}, s)
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		client := server.Client()
		client.Jar = jar
		s.Pause(t)
		written, _ := send(t, client, http.MethodPut, server.URL+"?body="+name)
		if cookies := written.Cookies; len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].MaxAge != 3600 {
			t.Errorf("%s: cookies %v", name, cookies)
		}
		if _, body := send(t, client, http.MethodGet, server.URL); body != name {
			t.Errorf("%s: the writer reads %q", name, body)
		}
		s.Resume(t)
	}
}

// TestKeysAreRotated: a cookie of the old key is good for as long as that is listed.
func TestKeysAreRotated(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	cookie := func(keys ...string) httpreplica.Middleware {
		m := httpreplica.Middleware{Cookie: "position", Explain: "X-Why", AllowExplain: func(*http.Request) bool { return true }}
		for _, key := range keys {
			m.Keys = append(m.Keys, []byte(key))
		}
		return m
	}
	before := s.serve(t, cookie("old"), s)
	during := s.serve(t, cookie("new", "old"), s)
	after := s.serve(t, cookie("new"), s)
	s.Pause(t)
	written, _ := send(t, before.Client(), http.MethodPut, before.URL+"?body=new")
	value := written.Cookies[0].Value
	for name, url := range map[string]string{replica.NoneCaughtUp.String(): during.URL, replica.ForeignToken.String(): after.URL} {
		answer, body := send(t, during.Client(), http.MethodGet, url, "Cookie", "position="+value)
		if why := answer.Header.Get("X-Why"); body != "new" || !strings.Contains(why, name) {
			t.Errorf("read %q, because %q, want: %s", body, why, name)
		}
	}
	s.Resume(t)
}

// TestNoTokenFailsARequest: each of them reads from the primary, and is replaced.
func TestNoTokenFailsARequest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	m := httpreplica.Middleware{Header: "X-Position", Cookie: "position", Keys: [][]byte{[]byte("key")}}
	server := s.serve(t, m, s)
	s.Pause(t)
	send(t, server.Client(), http.MethodPut, server.URL+"?body=new")
	for name, bad := range map[string][]string{
		"garbage":           {"X-Position", "\x80garbage"},
		"oversized":         {"X-Position", strings.Repeat("v1.1.1,", 20_000)},
		"many":              {"X-Position", strings.Repeat("v1.1.1,", 17)},
		"of the future":     {"X-Position", "v1.1.ffffffffffffffff"},
		"unresolved":        {"X-Position", "v1.unresolved"},
		"unsigned":          {"Cookie", "position=v1.1.1"},
		"forged":            {"Cookie", "position=v1.1.1~AAAA"},
		"garbage cookie":    {"Cookie", "position=%00~~~"},
		"oversized cookie":  {"Cookie", "position=" + strings.Repeat("x", 10_000)},
		"one of two":        {"Cookie", "position=x; position=y"},
		"beside a good one": {"X-Position", "v1.1.1", "Cookie", "position=forged"},
	} {
		answer, body := send(t, server.Client(), http.MethodGet, server.URL, bad...)
		if answer.StatusCode != http.StatusOK || body != "new" {
			t.Errorf("%s: %d, read %q, want the primary's", name, answer.StatusCode, body)
		}
		if token := answer.Header.Get("X-Position"); !strings.HasPrefix(token, "v1.") || token == "v1.unresolved" {
			t.Errorf("%s: replaced by %q", name, token)
		}
	}
	s.Resume(t)
}

func TestExplainIsSentToThoseAllowed(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t)
	m := httpreplica.Middleware{
		Header: "X-Position", Explain: "X-Why",
		AllowExplain: func(r *http.Request) bool { return r.Header.Get("X-Operator") != "" },
		Objects:      func(r *http.Request) []replica.Object { return []replica.Object{{Namespace: "path", ID: r.URL.Path}} },
	}
	server := s.serve(t, m, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if got := replica.FromContext(r.Context()).Watched(); len(got) != 1 || got[0].ID != "/a" {
			t.Errorf("the session watches %v", got)
		}
		var n int
		if err := s.db.QueryRow(r.Context(), "SELECT 1").Scan(&n); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	answer, _ := send(t, server.Client(), http.MethodGet, server.URL+"/a", "X-Operator", "1")
	if why := answer.Header.Get("X-Why"); !strings.Contains(why, "nothing watched") {
		t.Errorf("explained by %q", why)
	}
	if answer, _ := send(t, server.Client(), http.MethodGet, server.URL+"/a"); answer.Header.Get("X-Why") != "" {
		t.Error("a stranger was told of hosts")
	}
}

func TestAMiddlewareWithoutACarrierIsAMistake(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("it was accepted")
		}
	}()
	httpreplica.Middleware{}.Wrap(http.NotFoundHandler())
}
