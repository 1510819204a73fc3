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
	if verified.Status != http.StatusOK || verified.Token() != token || verified.Build() == 0 {
		t.Fatalf("verify: %d %v", verified.Status, verified.Body)
	}
	if _, there := verified.Body["token_expires_at"]; !there {
		t.Error("verify does not say when the token expires")
	}
	if a := b.do("DELETE", runnersPath+"/managers", said(token)); a.Status != http.StatusNoContent {
		t.Errorf("forget a process: %d %v", a.Status, a.Body)
	}
	reset := b.do("POST", runnersPath+"/reset_authentication_token", body{"token": token})
	if reset.Status != http.StatusCreated || reset.Token() == token || !strings.HasPrefix(reset.Token(), "glrt-") {
		t.Fatalf("reset: %d %v", reset.Status, reset.Body)
	}
	for _, call := range []string{"/verify", "/reset_authentication_token"} {
		if a := b.do("POST", runnersPath+call, said(token)); a.Status != http.StatusForbidden {
			t.Errorf("%s with the token of before: %d", call, a.Status)
		}
	}
	if a := b.do("DELETE", runnersPath, said(reset.Token())); a.Status != http.StatusNoContent {
		t.Errorf("delete: %d %v", a.Status, a.Body)
	}
	if a := b.do("POST", runnersPath+"/verify", said(reset.Token())); a.Status != http.StatusForbidden {
		t.Errorf("a deleted runner: %d", a.Status)
	}
}

func TestCallsThatAreNotTaken(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	gone := b.do("POST", runnersPath, body{"token": "registration", "description": "old"})
	if message, _ := gone.Body["message"].(string); gone.Status != http.StatusGone || !strings.Contains(message, "enqueue runner create") {
		t.Errorf("an old registration: %d %v", gone.Status, gone.Body)
	}
	if a := b.do("GET", runnersPath+"/router/discovery", nil); a.Status != http.StatusNotImplemented {
		t.Errorf("discovery: %d", a.Status)
	}
	if a := b.do("POST", runnersPath+"/verify", body{"token": 7}); a.Status != http.StatusBadRequest {
		t.Errorf("a number for a token: %d", a.Status)
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
	if a := b.do("POST", runnersPath+"/verify", body{"token": token}); a.Status != http.StatusOK {
		t.Fatalf("verify: %d", a.Status)
	}
	for i := 0; ; i++ {
		a := b.do("POST", runnersPath+"/verify", body{"token": "glrt-" + strconv.Itoa(i)})
		if a.Status == http.StatusTooManyRequests {
			if a.Header.Get("Retry-After") == "" {
				t.Error("it does not say when to try again")
			}
			break
		}
		if a.Status != http.StatusForbidden || i > 10_000 {
			t.Fatalf("wrong token %d: %d", i, a.Status)
		}
	}
	if a := b.request(token, ""); a.Status != http.StatusCreated {
		t.Errorf("a runner at the same address: %d %v", a.Status, a.Body)
	}
}
