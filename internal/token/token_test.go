package token

import (
	"net/http"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tokens, err := Parse("alice:0123456789abcdef, bob:fedcba9876543210\n  0123456789abcde:\t")
	if err == nil {
		t.Errorf("a secret of none: %v", tokens)
	}
	tokens, err = Parse(" alice:0123456789abcdef,\nfedcba9876543210")
	if err != nil || len(tokens) != 2 || tokens[0] != (Token{"alice", "0123456789abcdef"}) || tokens[1] != (Token{"token", "fedcba9876543210"}) {
		t.Errorf("got %v, %v", tokens, err)
	}
	for _, bad := range []string{"short", ":0123456789abcdef", "a:0123456789abcdef,a:0123456789abcdef"} {
		if _, err := Parse(bad); err == nil || strings.Contains(err.Error(), "0123456789abcdef") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Two tokens may hold at once, so that one can be replaced by the other.
func TestNamed(t *testing.T) {
	t.Parallel()
	tokens := []Token{{"old", "0123456789abcdef"}, {"new", "fedcba9876543210"}}
	for given, want := range map[string]string{
		"Bearer 0123456789abcdef": "old", "Bearer fedcba9876543210": "new",
		"Bearer 0123456789abcde": "", "Bearer ": "", "Bearer 0123456789abcdef ": "", "bearer 0123456789abcdef": "", "": "",
	} {
		r := &http.Request{Header: http.Header{"Authorization": {given}}}
		secret, found := Bearer(r)
		if name := Named(tokens, secret); name != want || found != strings.HasPrefix(given, "Bearer ") {
			t.Errorf("%q: %q (%v), want %q", given, name, found, want)
		}
	}
	if name := Named(nil, ""); name != "" {
		t.Errorf("without tokens everybody is %q", name)
	}
}
