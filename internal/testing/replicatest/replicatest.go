// Package replicatest gives tests a primary with standbys that package replica
// reads from, with replay under the test's control.
package replicatest

import (
	"cmp"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/testdb"
	"casq/replica"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Bench is a primary with standbys, set up for package replica, and a table of
// documents.
type Bench struct {
	Cluster *testdb.Cluster
	Primary *pgxpool.Pool
}

// New starts a primary with standbys, which have the table.
func New(t testing.TB, standbys int, options ...testdb.ClusterOption) *Bench {
	t.Helper()
	cluster := testdb.NewCluster(t, append(options, testdb.Standbys(standbys), testdb.Unmigrated())...)
	b := &Bench{Cluster: cluster, Primary: testdb.Pool(t, cluster.URL())}
	if err := replica.Setup(t.Context(), b.Primary, ""); err != nil {
		t.Fatal(err)
	}
	b.Exec(t, "CREATE TABLE documents (id text PRIMARY KEY, body text NOT NULL)")
	b.CatchUp(t)
	return b
}

// Exec runs a statement on the primary.
func (b *Bench) Exec(t testing.TB, sql string, args ...any) {
	t.Helper()
	if _, err := b.Primary.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

// The methods below are for the standbys with these indices, for all of them without any.

// URLs are the connection strings of standbys.
func (b *Bench) URLs(standbys ...int) (urls []string) {
	for _, i := range b.these(standbys) {
		urls = append(urls, b.Cluster.StandbyURL(i))
	}
	return urls
}

// CatchUp returns when standbys have replayed all that the primary has written.
func (b *Bench) CatchUp(t testing.TB, standbys ...int) {
	t.Helper()
	for _, i := range b.these(standbys) {
		if err := b.Cluster.Standbys[i].WaitReplayed(t.Context(), b.Cluster.Primary); err != nil {
			t.Fatalf("standby %d: %v", i, err)
		}
	}
}

// Pause stops replay on standbys: what is written from now on is not there.
func (b *Bench) Pause(t testing.TB, standbys ...int) {
	t.Helper()
	for _, i := range b.these(standbys) {
		if err := b.Cluster.Standbys[i].PauseReplay(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Resume ends [Bench.Pause].
func (b *Bench) Resume(t testing.TB, standbys ...int) {
	t.Helper()
	for _, i := range b.these(standbys) {
		if err := b.Cluster.Standbys[i].ResumeReplay(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *Bench) these(standbys []int) []int {
	if len(standbys) > 0 {
		return standbys
	}
	for i := range b.Cluster.Standbys {
		standbys = append(standbys, i)
	}
	return standbys
}

// Open returns a DB that uses all standbys, which have everything then, or those
// that options name.
func (b *Bench) Open(t testing.TB, options replica.Options) *replica.DB {
	t.Helper()
	if options.Standbys == nil {
		options.Standbys = replica.URLs(b.URLs()...)
		b.CatchUp(t)
	}
	options.Logger = cmp.Or(options.Logger, slog.New(slog.DiscardHandler))
	db, err := replica.New(t.Context(), b.Primary, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	Until(t, "the standbys are used", func() error {
		for _, host := range db.Hosts() {
			if !host.Usable {
				return fmt.Errorf("%s %s", host.Name, host.Why)
			}
		}
		return nil
	})
	return db
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
	await.Nil(t, time.Minute, what, met)
}
