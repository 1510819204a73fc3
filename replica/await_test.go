package replica_test

import (
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/replicatest"
	"casq/replica"
)

func TestAwait(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	db := b.Open(t, replica.Options{})
	b.Pause(t, 0)
	s := db.Session()
	write(t, s, "new")
	if s.Await(t.Context(), 50*time.Millisecond) {
		t.Error("a paused standby is said to have what was written")
	}
	reached := make(chan bool)
	go func() { reached <- s.Await(t.Context(), time.Minute) }()
	b.Resume(t, 0)
	if !<-reached {
		t.Error("it was waited for in vain")
	}
	read(t, s)
	wantReason(t, s, replica.CaughtUp)
	s.Pin()
	if s.Await(t.Context(), time.Hour) {
		t.Error("a standby was found for a pinned session")
	}
}
