package runner_test

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"casq/runner"
)

const runnersPath = "/api/v4/runners"

func TestARunnerComesAndGoes(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	token := b.runner()
	said := func(token string) body { return body{"token": token, "system_id": "s_1"} }
	verified := b.do("POST", runnersPath+"/verify", said(token))
	if verified.status != http.StatusOK || verified.token() != token || verified.id() == 0 {
		t.Fatalf("verify: %d %v", verified.status, verified.body)
	}
	if _, there := verified.body["token_expires_at"]; !there {
		t.Error("verify does not say when the token expires")
	}
	if a := b.do("DELETE", runnersPath+"/managers", said(token)); a.status != http.StatusNoContent {
		t.Errorf("forget a process: %d %v", a.status, a.body)
	}
	reset := b.do("POST", runnersPath+"/reset_authentication_token", body{"token": token})
	if reset.status != http.StatusCreated || reset.token() == token || !strings.HasPrefix(reset.token(), "glrt-") {
		t.Fatalf("reset: %d %v", reset.status, reset.body)
	}
	for _, call := range []string{"/verify", "/reset_authentication_token"} {
		if a := b.do("POST", runnersPath+call, said(token)); a.status != http.StatusForbidden {
			t.Errorf("%s with the token of before: %d", call, a.status)
		}
	}
	if a := b.do("DELETE", runnersPath, said(reset.token())); a.status != http.StatusNoContent {
		t.Errorf("delete: %d %v", a.status, a.body)
	}
	if a := b.do("POST", runnersPath+"/verify", said(reset.token())); a.status != http.StatusForbidden {
		t.Errorf("a deleted runner: %d", a.status)
	}
}

func TestCallsThatAreNotTaken(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	gone := b.do("POST", runnersPath, body{"token": "registration", "description": "old"})
	if message, _ := gone.body["message"].(string); gone.status != http.StatusGone || !strings.Contains(message, "enqueue runner create") {
		t.Errorf("an old registration: %d %v", gone.status, gone.body)
	}
	if a := b.do("GET", runnersPath+"/router/discovery", nil); a.status != http.StatusNotImplemented {
		t.Errorf("discovery: %d", a.status)
	}
	if a := b.do("POST", runnersPath+"/verify", body{"token": 7}); a.status != http.StatusBadRequest {
		t.Errorf("a number for a token: %d", a.status)
	}
}

// The header has another name in newer versions.
func TestTokensComeInHeaders(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	token := b.runner()
	for _, header := range []string{"Private-Token", "Runner-Token"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+runnersPath+"/verify", bytes.NewReader(nil))
		must(t, err)
		request.Header.Set(header, token)
		response, err := b.client.Do(request)
		must(t, err)
		must(t, response.Body.Close())
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", header, response.Status)
		}
	}
}

// Who tries tokens has to wait; who has one and has called before does not.
func TestTryingTokensIsLimited(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	token := b.runner()
	b.enqueue()
	if a := b.do("POST", runnersPath+"/verify", body{"token": token}); a.status != http.StatusOK {
		t.Fatalf("verify: %d", a.status)
	}
	for i := 0; ; i++ {
		a := b.do("POST", runnersPath+"/verify", body{"token": "glrt-" + strconv.Itoa(i)})
		if a.status == http.StatusTooManyRequests {
			if a.header.Get("Retry-After") == "" {
				t.Error("it does not say when to try again")
			}
			break
		}
		if a.status != http.StatusForbidden || i > 10_000 {
			t.Fatalf("wrong token %d: %d", i, a.status)
		}
	}
	if a := b.request(token, ""); a.status != http.StatusCreated {
		t.Errorf("a runner at the same address: %d %v", a.status, a.body)
	}
}
