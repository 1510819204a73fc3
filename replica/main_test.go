package replica_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"casq/internal/testing/testdb"
	"casq/replica"

	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// bench is a primary with standbys, set up, and a table of documents.
type bench struct {
	cluster *testdb.Cluster
	primary *pgxpool.Pool
}

func newBench(t *testing.T, standbys int, options ...testdb.ClusterOption) *bench {
	t.Helper()
	cluster := testdb.NewCluster(t, append(options, testdb.Standbys(standbys), testdb.Unmigrated())...)
	b := &bench{cluster: cluster, primary: testdb.Pool(t, cluster.URL())}
	if err := replica.Setup(t.Context(), b.primary, ""); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "CREATE TABLE documents (id text PRIMARY KEY, body text NOT NULL)")
	return b
}

func (b *bench) exec(t *testing.T, sql string) {
	t.Helper()
	if _, err := b.primary.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// open returns a DB over the standbys, all of them in use.
func (b *bench) open(t *testing.T, options replica.Options) *replica.DB {
	t.Helper()
	if options.Standbys == nil {
		var urls []string
		for i := range b.cluster.Standbys {
			urls = append(urls, b.cluster.StandbyURL(i))
		}
		options.Standbys = replica.URLs(urls...)
	}
	db, err := replica.New(t.Context(), b.primary, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	for i, s := range b.cluster.Standbys {
		if err := s.WaitReplayed(t.Context(), b.cluster.Primary); err != nil {
			t.Fatalf("standby %d: %v", i, err)
		}
	}
	until(t, "standbys are used", func() error {
		for _, host := range db.Hosts() {
			if !host.Usable {
				return fmt.Errorf("%s %s", host.Name, host.Why)
			}
		}
		return nil
	})
	return db
}

// until polls, since what is waited for is another process' doing.
func until(t *testing.T, what string, met func() error) {
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

func (b *bench) pause(t *testing.T, standbys ...int) {
	t.Helper()
	for _, i := range standbys {
		if err := b.cluster.Standbys[i].PauseReplay(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func (b *bench) resume(t *testing.T, standbys ...int) {
	t.Helper()
	for _, i := range standbys {
		if err := b.cluster.Standbys[i].ResumeReplay(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// read reads the body of document a through the session's read door.
func read(t *testing.T, s *replica.Session) string {
	t.Helper()
	var body string
	if err := s.Read().QueryRow(t.Context(), "SELECT body FROM documents WHERE id = 'a'").Scan(&body); err != nil {
		t.Fatalf("%v\n%s", err, s.Explain())
	}
	return body
}

func write(t *testing.T, s *replica.Session, body string) {
	t.Helper()
	_, err := s.Write().Exec(t.Context(), "INSERT INTO documents VALUES ('a', $1) ON CONFLICT (id) DO UPDATE SET body = EXCLUDED.body", body)
	if err != nil {
		t.Fatal(err)
	}
}

// last returns the session's last choice.
func last(t *testing.T, s *replica.Session) replica.Choice {
	t.Helper()
	choices := s.Choices()
	if len(choices) == 0 {
		t.Fatal("the session has chosen nothing")
	}
	return choices[len(choices)-1]
}

func wantReason(t *testing.T, s *replica.Session, want ...replica.Reason) {
	t.Helper()
	if got := last(t, s); !slices.Contains(want, got.Reason) {
		t.Errorf("chose %s, want %v", got, want)
	}
}

// standbyServes returns an error until a standby serves the session.
func standbyServes(t *testing.T, s *replica.Session, want string) error {
	t.Helper()
	if got := read(t, s); got != want {
		t.Fatalf("read %q, want %q\n%s", got, want, s.Explain())
	}
	if got := last(t, s); !got.Reason.Standby() {
		return errors.New(got.String())
	}
	return nil
}
