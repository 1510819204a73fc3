package runner_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/runner"
)

// Two requests that may not have the build would wake each other for it without end.
func TestRunnersThatMayHaveNoneDoNotAskInTurn(t *testing.T) {
	long.Test(t)
	t.Parallel()
	waiting := make(chan struct{}, 2)
	var picked atomic.Int64
	b := newBench(t, runner.Options{Hold: time.Second, Hook: func(point string) {
		switch point {
		case "waiting":
			waiting <- struct{}{}
		case "picked":
			picked.Add(1)
		}
	}})
	tokens := []string{b.runner(), b.runner()}
	_, err := b.pool.Exec(t.Context(), "UPDATE casq.runners SET paused = true")
	must(t, err)
	answers := make(chan answer)
	for _, token := range tokens {
		go func() { answers <- b.request(token, "") }()
	}
	<-waiting
	<-waiting
	b.enqueue()
	for range tokens {
		if a := <-answers; a.Status != http.StatusNoContent {
			t.Errorf("a paused runner got %d %v", a.Status, a.Body)
		}
	}
	if n := picked.Load(); n > 20 { // once for each hint, tick and round, and when they came
		t.Errorf("two paused runners asked %d times for one build", n)
	}
}

func TestARunnerThatChangesBeforeItWaits(t *testing.T) {
	t.Parallel()
	var second atomic.Bool
	known, change := make(chan struct{}), make(chan struct{})
	points := make(chan string, 20)
	b := newBench(t, runner.Options{Hook: func(point string) {
		switch {
		case point == "known" && second.Load():
			close(known)
			<-change
		case point == "waiting" || point == "woken":
			points <- point
		}
	}})
	token := b.runner("linux")
	one, two := make(chan answer, 1), make(chan answer, 1)
	go func() { one <- b.request(token, "") }()
	<-points // it waits
	second.Store(true)
	go func() { two <- b.request(token, "") }()
	<-known
	_, err := b.pool.Exec(t.Context(), "UPDATE casq.runners SET tags = '{windows}'")
	must(t, err)
	<-one // it was woken, and asks anew
	for len(points) > 0 {
		<-points
	}
	close(change)
	select {
	case <-two:
	case point := <-points:
		t.Errorf("a request is %s for builds with tags that its runner has no more", point)
	}
}
