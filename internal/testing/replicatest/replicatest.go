// Package replicatest gives tests a primary with standbys that package replica
// reads from, with replay under the test's control.
package replicatest

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"casq/internal/testing/testdb"
	"casq/replica"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Bench is a primary with standbys, set up for package replica.
type Bench struct {
	Cluster *testdb.Cluster
	Primary *pgxpool.Pool
}

// New starts a primary with standbys, sets it up, and runs the statements of schema
// there.
func New(t testing.TB, standbys int, schema ...string) *Bench {
	t.Helper()
	cluster := testdb.NewCluster(t, testdb.Standbys(standbys), testdb.Unmigrated())
	b := &Bench{Cluster: cluster, Primary: testdb.Pool(t, cluster.URL())}
	if err := replica.Setup(t.Context(), b.Primary, ""); err != nil {
		t.Fatal(err)
	}
	for _, statement := range schema {
		if _, err := b.Primary.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// URLs are the connection strings of the standbys.
func (b *Bench) URLs() []string {
	urls := make([]string, len(b.Cluster.Standbys))
	for i := range urls {
		urls[i] = b.Cluster.StandbyURL(i)
	}
	return urls
}

// Open returns a DB over the standbys, unless options name others, when all of them
// are in use and have everything.
func (b *Bench) Open(t testing.TB, options replica.Options) *replica.DB {
	t.Helper()
	if options.Standbys == nil {
		options.Standbys = replica.URLs(b.URLs()...)
	}
	options.Logger = cmp.Or(options.Logger, slog.New(slog.DiscardHandler))
	db, err := replica.New(t.Context(), b.Primary, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	for i, standby := range b.Cluster.Standbys {
		if err := standby.WaitReplayed(t.Context(), b.Cluster.Primary); err != nil {
			t.Fatalf("standby %d: %v", i, err)
		}
	}
	Until(t, "standbys are used", func() error {
		for _, host := range db.Hosts() {
			if !host.Usable {
				return fmt.Errorf("%s %s", host.Name, host.Why)
			}
		}
		return nil
	})
	return db
}

// Pause stops replay on all standbys: what is written from now on is not there.
func (b *Bench) Pause(t testing.TB) {
	t.Helper()
	for _, standby := range b.Cluster.Standbys {
		if err := standby.PauseReplay(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Resume ends [Bench.Pause].
func (b *Bench) Resume(t testing.TB) {
	t.Helper()
	for _, standby := range b.Cluster.Standbys {
		if err := standby.ResumeReplay(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Last returns the session's last choice.
func Last(t testing.TB, s *replica.Session) replica.Choice {
	t.Helper()
	choices := s.Choices()
	if len(choices) == 0 {
		t.Fatal("the session has chosen nothing")
	}
	return choices[len(choices)-1]
}

// Until polls, since what is waited for is another process' doing.
func Until(t testing.TB, what string, met func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := met()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
