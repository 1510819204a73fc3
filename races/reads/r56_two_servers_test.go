package reads

import (
	"errors"
	"fmt"
	"testing"

	"casq/internal/testing/balancer"
	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/replica"
)

// TestR56TwoServers: behind one address the probe meets a standby that has the
// position, and the read a late one: a balancer, or a server that was set up again
// from an older backup.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR56TwoServers(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t, testdb.TCP())
	urls := []string{r.Cluster.StandbyURL(0), r.Cluster.StandbyURL(1)}
	balanced := func(t *testing.T) (b *balancer.Balancer, behind string) {
		t.Helper()
		b, err := balancer.New(urls[0])
		must(t, err)
		t.Cleanup(func() { must(t, b.Close()) })
		behind, err = b.Behind(urls[0])
		must(t, err)
		return b, behind
	}
	r.naiveWrite(t, "a", "old")
	r.CatchUp(t)
	r.Pause(t, 1)
	need := r.naiveWrite(t, "a", "new")
	r.CatchUp(t, 0)

	t.Run("twin/the address is probed", func(t *testing.T) {
		b, behind := balanced(t)
		probe := testdb.Pool(t, behind)
		if replayedOn(t, probe) < need {
			t.Fatal("the probe has met the late one")
		}
		must(t, b.Point(urls[1]))
		if got := body(t, testdb.Pool(t, behind), "a"); got != "old" {
			t.Errorf("the read met a server that shows %q", got)
		}
	})
	for name, inBand := range map[string]bool{"ours/a balancer": false, "ours/in band": true} {
		t.Run(name, func(t *testing.T) {
			b, behind := balanced(t)
			db := r.open(t, replica.Options{Wait: -1, InBand: inBand, Standbys: replica.URLs(behind)})
			s := db.Session()
			must(t, s.Wrote(t.Context()))
			need, err := replica.ParseToken(s.Token(t.Context()))
			must(t, err)
			replicatest.Until(t, "the probe has seen that position", func() error {
				if at := db.Hosts()[0].Position; at.Compare(need) < 0 {
					return fmt.Errorf("it has seen %s", at)
				}
				return nil
			})
			// The probe keeps its connection; the reads' are new.
			must(t, b.Point(urls[1]))
			for range 10 {
				wantPrimary(t, wantBody(t, s, "a", "new"))
			}
		})
	}
	t.Run("ours/set up again", func(t *testing.T) {
		b, behind := balanced(t)
		db := r.open(t, replica.Options{Wait: -1, Standbys: replica.URLs(behind)})
		s := db.Session()
		must(t, s.Wrote(t.Context()))
		r.CatchUp(t, 0)
		standbyAgain(t, func() *replica.Session { return s }, "a", "new")
		must(t, b.Point(urls[1]))
		b.Cut()
		for range 10 {
			choice := wantBody(t, s, "a", "new")
			if choice.Reason.Standby() {
				t.Error(errors.New(choice.String()))
			}
		}
	})
}
