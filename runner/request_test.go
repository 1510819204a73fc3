package runner_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/runner"
)

func TestABuildIsHandedOutAndEnds(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{})
	token := b.runner("linux")
	id := b.enqueue("linux")
	got := b.request(token, "")
	if got.Status != http.StatusCreated || got.Build() != id {
		t.Fatalf("got %d %v, want build %d", got.Status, got.Body, id)
	}
	if told := got.Header.Get("X-GitLab-Last-Update"); told != "" {
		t.Errorf("a build came with the last update %q", told)
	}
	path := fmt.Sprintf("/api/v4/jobs/%d", id)
	for _, state := range []string{"running", "success", "success"} {
		if a := b.do("PUT", path, body{"token": got.Token(), "state": state}); a.Status != http.StatusOK {
			t.Fatalf("PUT %s: %d %v", state, a.Status, a.Body)
		}
	}
	if status := b.status(id); status != "success" {
		t.Errorf("the build is %s", status)
	}
	if a := b.do("PUT", path, body{"token": "wrong", "state": "failed"}); a.Status != http.StatusForbidden {
		t.Errorf("a wrong token: %d", a.Status)
	}
	if a := b.do("PUT", "/api/v4/jobs/999999", body{"token": got.Token(), "state": "failed"}); a.Status != http.StatusNotFound {
		t.Errorf("another build: %d", a.Status)
	}
}

// What is done is told to whoever counts it.
func TestPicksAndPickUpsAreTold(t *testing.T) {
	t.Parallel()
	picked, handed := make(chan string, 100), make(chan time.Duration, 1)
	entered := make(chan struct{}, 10)
	b := newBench(t, runner.Options{
		Picked: func(outcome string) { picked <- outcome }, HandedOut: func(waited time.Duration) { handed <- waited },
		Hook: func(point string) {
			if point == "waiting" {
				entered <- struct{}{}
			}
		},
	})
	token := b.runner()
	answers := make(chan answer)
	go func() { answers <- b.request(token, "") }()
	<-entered
	if n := b.c.Waiting(); n != 1 {
		t.Errorf("%d requests are said to wait", n)
	}
	b.enqueue()
	if a := <-answers; a.Status != http.StatusCreated {
		t.Fatalf("got %d %v", a.Status, a.Body)
	}
	counts := make(map[string]int) // it may poll more often than once in vain
	for counts["taken"] == 0 {
		counts[<-picked]++
	}
	if counts["none"] == 0 {
		t.Errorf("the poll that found nothing is not among %v", counts)
	}
	if waited := <-handed; waited <= 0 || waited > time.Minute {
		t.Errorf("it is told to have waited for %v", waited)
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
	if a := <-answers; a.Status != http.StatusCreated || a.Build() != id {
		t.Fatalf("got %d %v, want build %d", a.Status, a.Body, id)
	}
	t.Log("picked up after", time.Since(began))
}

func TestNothingIsToldAfterALook(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := newBench(t, runner.Options{Hold: time.Second})
	token := b.runner("linux")
	b.enqueue("windows")
	told := ""
	for told == "" { // until the log has been read for the first time
		a := b.request(token, "")
		if a.Status != http.StatusNoContent {
			t.Fatalf("got %d %v", a.Status, a.Body)
		}
		told = a.Header.Get("X-GitLab-Last-Update")
	}
	id := b.enqueue("linux")
	if a := b.request(token, told); a.Build() != id {
		t.Fatalf("got %d %v, want build %d", a.Status, a.Body, id)
	}
}

func TestNeeds(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{Hold: time.Second})
	token := b.runner()
	ids := b.pipeline(
		runner.Build{Name: "one"}, runner.Build{Name: "two"},
		runner.Build{Name: "three", Needs: []string{"one", "two"}},
		runner.Build{Name: "four", Needs: []string{"three"}},
	)
	for i := range 2 {
		a := b.request(token, "")
		if a.Build() != ids[i] {
			t.Fatalf("got %d %v, want build %d", a.Status, a.Body, ids[i])
		}
		if status := b.status(ids[2]); status != "created" {
			t.Fatalf("it needs two and is %s after %d", status, i)
		}
		b.do("PUT", fmt.Sprintf("/api/v4/jobs/%d", a.Build()), body{"token": a.Token(), "state": "success"})
	}
	a := b.request(token, "")
	if a.Build() != ids[2] {
		t.Fatalf("got %d %v, want build %d", a.Status, a.Body, ids[2])
	}
	b.do("PUT", fmt.Sprintf("/api/v4/jobs/%d", a.Build()), body{"token": a.Token(), "state": "failed", "failure_reason": "script_failure", "exit_code": 1})
	if status := b.status(ids[3]); status != "skipped" {
		t.Errorf("what needs a failed build is %s", status)
	}
	var now string
	must(t, b.pool.QueryRow(t.Context(), "SELECT casq.retry_build($1)", ids[2]).Scan(&now))
	if now != "pending" || b.status(ids[3]) != "created" {
		t.Errorf("after a retry they are %s and %s", now, b.status(ids[3]))
	}
}
