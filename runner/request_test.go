package runner_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"casq/runner"
)

func TestABuildIsHandedOutAndEnds(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	token := b.runner("linux")
	id := b.enqueue("linux")
	got := b.request(token, "")
	if got.status != http.StatusCreated || got.id() != id {
		t.Fatalf("got %d %v, want build %d", got.status, got.body, id)
	}
	if told := got.header.Get("X-GitLab-Last-Update"); told != "" {
		t.Errorf("a build came with the last update %q", told)
	}
	path := fmt.Sprintf("/api/v4/jobs/%d", id)
	for _, state := range []string{"running", "success", "success"} {
		if a := b.do("PUT", path, body{"token": got.token(), "state": state}); a.status != http.StatusOK {
			t.Fatalf("PUT %s: %d %v", state, a.status, a.body)
		}
	}
	if status := b.status(id); status != "success" {
		t.Errorf("the build is %s", status)
	}
	if a := b.do("PUT", path, body{"token": "wrong", "state": "failed"}); a.status != http.StatusForbidden {
		t.Errorf("a wrong token: %d", a.status)
	}
	if a := b.do("PUT", "/api/v4/jobs/999999", body{"token": got.token(), "state": "failed"}); a.status != http.StatusNotFound {
		t.Errorf("another build: %d", a.status)
	}
}

func TestARequestThatWaitsGetsTheBuild(t *testing.T) {
	t.Parallel()
	entered := make(chan struct{}, 10)
	b := newBench(t, runner.Options{Hook: func(point string) {
		if point == "entered" {
			entered <- struct{}{}
		}
	}})
	token := b.runner()
	answers := make(chan answer)
	go func() { answers <- b.request(token, "") }()
	<-entered
	began := time.Now()
	id := b.enqueue()
	if a := <-answers; a.status != http.StatusCreated || a.id() != id {
		t.Fatalf("got %d %v, want build %d", a.status, a.body, id)
	}
	t.Log("picked up after", time.Since(began))
}

func TestNothingIsToldAfterALook(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{Hold: time.Second})
	token := b.runner("linux")
	b.enqueue("windows")
	told := ""
	for told == "" { // until the log has been read for the first time
		a := b.request(token, "")
		if a.status != http.StatusNoContent {
			t.Fatalf("got %d %v", a.status, a.body)
		}
		told = a.header.Get("X-GitLab-Last-Update")
	}
	id := b.enqueue("linux")
	if a := b.request(token, told); a.id() != id {
		t.Fatalf("got %d %v, want build %d", a.status, a.body, id)
	}
}

func TestNeeds(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{Hold: time.Second})
	token := b.runner()
	ids := b.pipeline(runner.Pipeline{Project: 7, Builds: []runner.Build{
		{Name: "one", Job: smallest}, {Name: "two", Job: smallest},
		{Name: "three", Needs: []string{"one", "two"}, Job: smallest},
		{Name: "four", Needs: []string{"three"}, Job: smallest},
	}})
	for i := range 2 {
		a := b.request(token, "")
		if a.id() != ids[i] {
			t.Fatalf("got %d %v, want build %d", a.status, a.body, ids[i])
		}
		if status := b.status(ids[2]); status != "created" {
			t.Fatalf("it needs two and is %s after %d", status, i)
		}
		b.do("PUT", fmt.Sprintf("/api/v4/jobs/%d", a.id()), body{"token": a.token(), "state": "success"})
	}
	a := b.request(token, "")
	if a.id() != ids[2] {
		t.Fatalf("got %d %v, want build %d", a.status, a.body, ids[2])
	}
	b.do("PUT", fmt.Sprintf("/api/v4/jobs/%d", a.id()), body{"token": a.token(), "state": "failed", "failure_reason": "script_failure", "exit_code": 1})
	if status := b.status(ids[3]); status != "skipped" {
		t.Errorf("what needs a failed build is %s", status)
	}
	var now string
	must(t, b.pool.QueryRow(t.Context(), "SELECT casq.retry_build($1)", ids[2]).Scan(&now))
	if now != "pending" || b.status(ids[3]) != "created" {
		t.Errorf("after a retry they are %s and %s", now, b.status(ids[3]))
	}
}
