package replica_test

import (
	"errors"
	"testing"
	"time"

	"casq/internal/testing/replicatest"
	"casq/replica"
)

// TestAForgedTokenIsNotWaitedFor: a token of a future takes none of the places of those
// that wait for a standby, and does not stop others from waiting.
func TestAForgedTokenIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	b := replicatest.New(t, 1)
	db := b.Open(t, replica.Options{Wait: time.Minute})
	s := db.Session()
	write(t, s, "one")
	good, err := replica.ParseToken(s.Token(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		forged := db.Session()
		forged.Carry(replica.Position{Timeline: good.Timeline, LSN: good.LSN + 1<<40}.Token())
		read(t, forged)
		wantReason(t, forged, replica.ForeignToken)
		if waited := replicatest.Last(t, forged).Waited; waited > 0 {
			t.Errorf("forged read %d waited %s", i, waited)
		}
	}
	b.Pause(t)
	s = db.Session()
	write(t, s, "two")
	served := make(chan string)
	go func() {
		defer close(served)
		var body string
		if err := s.Read().QueryRow(t.Context(), "SELECT body FROM documents WHERE id = 'a'").Scan(&body); err != nil {
			t.Error(err)
		}
		served <- body
	}()
	replicatest.Until(t, "a read waits", func() error {
		if db.Hosts()[0].Waiting == 0 {
			select {
			case body := <-served:
				t.Fatalf("read %q without waiting\n%s", body, s.Explain())
			default:
				return errors.New("nobody does")
			}
		}
		return nil
	})
	b.Resume(t)
	if got := <-served; got != "two" {
		t.Errorf("read %q\n%s", got, s.Explain())
	}
}
