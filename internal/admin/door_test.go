package admin

import (
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/logged"
	"casq/internal/token"
)

func TestParseProxies(t *testing.T) {
	t.Parallel()
	proxies, err := ParseProxies("10.0.0.5, 10.1.2.3/16,::1")
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.5/32"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("::1/128")}
	if err != nil || len(proxies) != 3 || proxies[0] != want[0] || proxies[1] != want[1] || proxies[2] != want[2] {
		t.Errorf("got %v, %v", proxies, err)
	}
	if _, err := ParseProxies("proxy.example.org"); err == nil {
		t.Error("a name was taken")
	}
}

// Who one is, by what the request says and where it comes from.
func TestWho(t *testing.T) {
	t.Parallel()
	door := Door{
		Tokens: []token.Token{{Name: "alice", Secret: secret}, {Name: "bob", Secret: "bob's own secret!"}}, UserHeader: "X-Forwarded-User",
		Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
	}
	now := time.Now()
	other := Door{Tokens: []token.Token{{Name: "alice", Secret: "another secret of hers"}}}
	for name, test := range map[string]struct {
		remote, want string
		headers      http.Header
	}{
		"nobody":                     {"192.0.2.1:1", "", nil},
		"a token":                    {"192.0.2.1:1", "bob", http.Header{"Authorization": {"Bearer bob's own secret!"}}},
		"a wrong token":              {"192.0.2.1:1", "", http.Header{"Authorization": {"Bearer bob's own secret"}}},
		"an empty token":             {"192.0.2.1:1", "", http.Header{"Authorization": {"Bearer "}}},
		"a cookie":                   {"192.0.2.1:1", "alice", http.Header{"Cookie": {cookieName + "=" + door.cookie("alice", now)}}},
		"an old cookie":              {"192.0.2.1:1", "", http.Header{"Cookie": {cookieName + "=" + door.cookie("alice", now.Add(-cookieTime-time.Second))}}},
		"a cookie of an old secret":  {"192.0.2.1:1", "", http.Header{"Cookie": {cookieName + "=" + other.cookie("alice", now)}}},
		"a cookie that was changed":  {"192.0.2.1:1", "", http.Header{"Cookie": {cookieName + "=9" + door.cookie("alice", now)}}},
		"a cookie of nothing":        {"192.0.2.1:1", "", http.Header{"Cookie": {cookieName + "=.."}}},
		"a proxy":                    {"10.1.2.3:1", "carol", http.Header{"X-Forwarded-User": {"carol"}}},
		"a proxy over IPv6":          {"[::ffff:10.1.2.3]:1", "carol", http.Header{"X-Forwarded-User": {"carol"}}},
		"a proxy that strips it":     {"10.1.2.3:1", "", nil},
		"a proxy that adds one":      {"10.1.2.3:1", "", http.Header{"X-Forwarded-User": {"mallory", "carol"}}},
		"a huge name":                {"10.1.2.3:1", "", http.Header{"X-Forwarded-User": {strings.Repeat("a", 201)}}},
		"a forged header":            {"192.0.2.1:1", "", http.Header{"X-Forwarded-User": {"carol"}}},
		"a forged header of a known": {"192.0.2.1:1", "bob", http.Header{"X-Forwarded-User": {"carol"}, "Authorization": {"Bearer bob's own secret!"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
			r.RemoteAddr = test.remote
			maps.Copy(r.Header, test.headers)
			if got := door.who(r, now); got != test.want {
				t.Errorf("it is %q, want %q", got, test.want)
			}
		})
	}
}

// Whoever is not known sees the sign-in and the style, and nothing else; who has signed in
// has a cookie that scripts and other sites do not get.
func TestTheDoorIsShut(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, path := range []string{"/", "/resource?kind=a&key=b", "/act?action=resync&kind=artifact"} {
		got := b.call(t, http.MethodGet, path, nil, nobody)
		if got.status != http.StatusSeeOther || !strings.HasPrefix(got.header.Get("Location"), "/signin?next=%2F") {
			t.Errorf("%s: %d to %s", path, got.status, got.header.Get("Location"))
		}
	}
	if got := b.call(t, http.MethodGet, "/events", nil, nobody); got.status != http.StatusUnauthorized {
		t.Errorf("events: %d", got.status)
	}
	if got := b.call(t, http.MethodPost, "/act", form("action", "resync", "kind", "artifact"), nobody); got.status != http.StatusUnauthorized {
		t.Errorf("act: %d", got.status)
	}
	if got := b.call(t, http.MethodPost, "/signin", form("token", "no secret at all"), nobody); got.status != http.StatusForbidden || got.header.Get("Set-Cookie") != "" {
		t.Errorf("a wrong secret: %d", got.status)
	}
	got := b.call(t, http.MethodPost, "/signin", form("token", secret, "next", "//elsewhere.example.org"), nobody)
	cookie := got.header.Get("Set-Cookie")
	if got.status != http.StatusSeeOther || got.header.Get("Location") != "/" || !strings.Contains(cookie, "HttpOnly; SameSite=Strict") || strings.Contains(cookie, secret) {
		t.Errorf("%d to %s with %s", got.status, got.header.Get("Location"), cookie)
	}
	value, _, _ := strings.Cut(cookie, ";")
	if got := b.call(t, http.MethodGet, "/", nil, nobody, header("Cookie", value)); got.status != http.StatusOK || !strings.Contains(got.body, "alice") {
		t.Errorf("signed in: %d", got.status)
	}
}

// Whoever tries secrets is told of in the log, and gets no more than one answer a second,
// whichever way he brings them; who is signed in goes on.
func TestWrongSecretsAreSlowedAndTold(t *testing.T) {
	t.Parallel()
	said := &logged.Messages{}
	b := setup(t, func(c *Config) { c.Logger = slog.New(said) })
	cookie, _, _ := strings.Cut(b.call(t, http.MethodPost, "/signin", form("token", secret), nobody).header.Get("Set-Cookie"), ";")
	b.wrong.SetLimit(0) // no time passes
	for n := range wrongAtOnce {
		try := func() answer { return b.call(t, http.MethodPost, "/signin", form("token", "no secret at all"), nobody) }
		want := http.StatusForbidden
		if n%2 == 0 {
			try, want = func() answer {
				return b.call(t, http.MethodGet, "/", nil, header("Authorization", "Bearer no secret at all"))
			}, http.StatusUnauthorized
		}
		if got := try(); got.status != want {
			t.Errorf("try %d: %d, want %d", n, got.status, want)
		}
	}
	if got := said.Count("wrong secret"); got != wrongAtOnce {
		t.Errorf("%d tries are in the log, want %d", got, wrongAtOnce)
	}
	if got := b.call(t, http.MethodPost, "/signin", form("token", secret), nobody); got.status != http.StatusTooManyRequests {
		t.Errorf("the right one among them: %d", got.status)
	}
	if got := b.call(t, http.MethodGet, "/", nil); got.status != http.StatusTooManyRequests {
		t.Errorf("the right one in a header: %d", got.status)
	}
	if got := b.call(t, http.MethodGet, "/", nil, nobody, header("Cookie", cookie)); got.status != http.StatusOK {
		t.Errorf("who is signed in: %d", got.status)
	}
}

// Without a token one may look, and not act, whatever one says of oneself.
func TestWithoutATokenNobodyActs(t *testing.T) {
	t.Parallel()
	b := setup(t, func(c *Config) { c.Door = Door{} })
	if got := b.call(t, http.MethodGet, "/", nil); got.status != http.StatusOK || strings.Contains(got.body, "Sign in") {
		t.Errorf("the page: %d", got.status)
	}
	got := b.call(t, http.MethodPost, "/act", form("action", "refresh", "kind", "artifact"), header("X-Forwarded-User", "carol"))
	if got.status != http.StatusForbidden || len(b.refreshed) > 0 {
		t.Errorf("%d, refreshed %v", got.status, b.refreshed)
	}
}

// A page of another site cannot act with what the browser knows of this one.
func TestAnotherSiteCannotAct(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, from := range []func(*http.Request){header("Sec-Fetch-Site", "cross-site"), header("Origin", "https://evil.example.org")} {
		if got := b.call(t, http.MethodPost, "/act", form("action", "refresh", "kind", "artifact"), from); got.status != http.StatusForbidden {
			t.Errorf("it got %d", got.status)
		}
	}
	if len(b.refreshed) > 0 {
		t.Errorf("refreshed %v", b.refreshed)
	}
}
