package replica_test

import (
	"testing"
	"time"

	"casq/replica"
)

func TestAwait(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1)
	db := b.open(t, replica.Options{})
	b.pause(t, 0)
	s := db.Session()
	write(t, s, "new")
	if s.Await(t.Context(), 50*time.Millisecond) {
		t.Error("a paused standby is said to have what was written")
	}
	reached := make(chan bool)
	go func() { reached <- s.Await(t.Context(), time.Minute) }()
	b.resume(t, 0)
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
