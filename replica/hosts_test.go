package replica_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/internal/testing/replicatest"
	"casq/internal/testing/testdb"
	"casq/replica"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// TestWrongStandbys: what is configured as a standby and is none is not read from,
// and Check says why.
func TestWrongStandbys(t *testing.T) {
	long.Test(t)
	t.Parallel()
	// A copy has its original's system identifier.
	b, copied, other := replicatest.New(t, 1), replicatest.New(t, 1), replicatest.New(t, 1, testdb.OwnIdentity())
	for _, foreign := range []*replicatest.Bench{copied, other} {
		if err := foreign.Cluster.Standbys[0].WaitReplayed(t.Context(), foreign.Cluster.Primary); err != nil {
			t.Fatal(err)
		}
	}
	db, err := replica.New(t.Context(), b.Primary, replica.Options{Standbys: replica.URLs(
		b.Cluster.URL(), other.Cluster.StandbyURL(0), copied.Cluster.StandbyURL(0), "postgres://nobody:secret@127.0.0.1:1/none?connect_timeout=1",
	)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	err = db.Check(t.Context())
	for _, want := range []string{"is a primary, not a standby", "of another cluster: its system identifier", "which the primary does not have", "127.0.0.1:1 does not answer"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Check lacks %q: %v", want, err)
		}
	}
	if err != nil && strings.Contains(err.Error(), "secret") {
		t.Errorf("Check tells a password: %v", err)
	}
	s := db.Session()
	write(t, s, "one")
	if got := read(t, s); got != "one" {
		t.Errorf("read %q", got)
	}
	none := db.Session()
	read(t, none)
	wantReason(t, none, replica.NoStandby)
}

func TestBadOptions(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	for want, options := range map[string]replica.Options{
		"cannot parse":          {Standbys: replica.URLs("postgres://%zz")},
		"replica.Setup":         {Schema: "nowhere"},
		"MaxWaiters is -1":      {MaxWaiters: -1},
		"without a Store":       {Strict: true},
		"option Audit is 0.5":   {Audit: 0.5},
		"ProbeEvery is -1s":     {ProbeEvery: -time.Second},
		"exclude each other":    {Monotonic: true, InBand: true},
		"list the standbys: no": {Standbys: func(context.Context) ([]string, time.Duration, error) { return nil, 0, errors.New("no") }},
	} {
		db, err := replica.New(t.Context(), b.Primary, options)
		if err == nil {
			db.Close()
		}
		if want == "list the standbys: no" {
			if err != nil {
				t.Errorf("a discovery that fails for a while: %v", err)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	if _, err := replica.New(t.Context(), nil, replica.Options{}); err == nil {
		t.Error("a nil primary was taken")
	}
	if err := b.Cluster.Standbys[0].WaitReplayed(t.Context(), b.Cluster.Primary); err != nil {
		t.Fatal(err)
	}
	if _, err := replica.New(t.Context(), testdb.Pool(t, b.Cluster.StandbyURL(0)), replica.Options{}); err == nil || !strings.Contains(err.Error(), "SQLSTATE 55000") {
		t.Errorf("a standby as the primary: %v", err)
	}
}

// TestHostsComeAndGo: a standby that is taken out ends its reads in peace.
func TestHostsComeAndGo(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 2)
	b.Exec(t, "INSERT INTO documents SELECT 'd' || n, '' FROM generate_series(1, 1000) AS n")
	b.CatchUp(t)
	var listed atomic.Int32
	listed.Store(2)
	db := b.Open(t, replica.Options{MaxLag: -1, Standbys: func(context.Context) ([]string, time.Duration, error) {
		urls := []string{b.Cluster.StandbyURL(0), b.Cluster.StandbyURL(1)}
		return urls[:listed.Load()], 10 * time.Millisecond, nil
	}})
	s := db.Session()
	rows, err := s.Read().Query(t.Context(), "SELECT id FROM documents WHERE id LIKE 'd%'")
	if err != nil {
		t.Fatal(err)
	}
	if got := replicatest.Last(t, s); !got.Reason.Standby() {
		t.Fatal(got)
	}
	listed.Store(0)
	replicatest.Until(t, "the standbys are gone", func() error {
		if n := len(db.Hosts()); n > 0 {
			return errors.New("some are left")
		}
		return nil
	})
	n := 0
	for rows.Next() {
		n++
	}
	if rows.Err() != nil || n != 1000 {
		t.Errorf("a read on a host that went was cut after %d rows: %v", n, rows.Err())
	}
	none := db.Session()
	if err := none.Read().QueryRow(t.Context(), "SELECT 1").Scan(new(int)); err != nil {
		t.Error(err)
	}
	wantReason(t, none, replica.NoStandby)
	listed.Store(1)
	replicatest.Until(t, "one is back", func() error {
		again := db.Session()
		if err := again.Read().QueryRow(t.Context(), "SELECT 1").Scan(new(int)); err != nil {
			return err
		}
		if got := replicatest.Last(t, again); !got.Reason.Standby() {
			return errors.New(got.String())
		}
		return nil
	})
}

// TestMonotonic: a session that read from the faster standby never reads from the
// slower one what is older.
func TestMonotonic(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 2)
	for _, monotonic := range []bool{false, true} {
		db := b.Open(t, replica.Options{Monotonic: monotonic, MaxLag: -1})
		s := db.Session()
		write(t, s, "one")
		for i := range b.Cluster.Standbys {
			if err := b.Cluster.Standbys[i].WaitReplayed(t.Context(), b.Cluster.Primary); err != nil {
				t.Fatal(err)
			}
		}
		b.Pause(t, 0)
		write(t, s, "two")
		if err := b.Cluster.Standbys[1].WaitReplayed(t.Context(), b.Cluster.Primary); err != nil {
			t.Fatal(err)
		}
		back := 0
		for range 20 {
			reader := db.Session()
			if first := read(t, reader); first != "two" {
				continue
			}
			next := db.Session()
			next.Carry(reader.Token(t.Context()))
			if read(t, reader) != "two" || read(t, next) != "two" {
				back++
			}
		}
		if monotonic && back > 0 {
			t.Errorf("%d of 20 sessions read backwards", back)
		}
		if !monotonic && back == 0 {
			t.Error("without Monotonic no session read backwards: the test shows nothing")
		}
		b.Resume(t, 0)
	}
}

func TestInBand(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	db := b.Open(t, replica.Options{InBand: true, Wait: 10 * time.Second})
	s := db.Session()
	write(t, s, "one")
	if got := read(t, s); got != "one" {
		t.Errorf("read %q", got)
	}
	wantReason(t, s, replica.CaughtUp, replica.Waited)
	b.Pause(t, 0)
	write(t, s, "two")
	late := db.Session()
	late.Carry(s.Token(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := late.Read().QueryRow(ctx, "SELECT 1").Scan(new(int)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a read whose context ends while it waits: %v", err)
	}
	b.Resume(t, 0)
}

// TestForeignServerBehindTheAddress: the probe meets a standby of ours, and reads meet
// one of a copy of the cluster, whose numbers lie beyond ours.
func TestForeignServerBehindTheAddress(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	copied := replicatest.New(t, 1) // Made later: its timeline's number is larger.
	b.Exec(t, "INSERT INTO documents VALUES ('a', 'ours')")
	copied.Exec(t, "INSERT INTO documents VALUES ('a', 'theirs')")
	if err := copied.Cluster.Standbys[0].WaitReplayed(t.Context(), copied.Cluster.Primary); err != nil {
		t.Fatal(err)
	}
	theirs, err := pgxpool.ParseConfig(copied.Cluster.StandbyURL(0))
	if err != nil {
		t.Fatal(err)
	}
	var moved atomic.Bool
	db := b.Open(t, replica.Options{MaxLag: -1, Connect: func(ctx context.Context, url string) (*pgxpool.Pool, error) {
		config, err := pgxpool.ParseConfig(url)
		if err != nil {
			return nil, err
		}
		config.BeforeConnect = func(_ context.Context, one *pgx.ConnConfig) error {
			if moved.Load() {
				one.Host, one.Port, one.User, one.Password = theirs.ConnConfig.Host, theirs.ConnConfig.Port, theirs.ConnConfig.User, theirs.ConnConfig.Password
			}
			return nil
		}
		return pgxpool.NewWithConfig(ctx, config)
	}})
	moved.Store(true)
	for range 10 {
		s := db.Session()
		if got := read(t, s); got != "ours" {
			t.Fatalf("read %q\n%s", got, s.Explain())
		}
	}
	if err := db.Check(t.Context()); err != nil {
		t.Errorf("the probe has met another server, the test shows nothing: %v", err)
	}
}

// TestMonotonicWithoutThePrimary: what was seen on the primary cannot be compared
// with a standby once the primary is away. The read fails, and does not go back.
func TestMonotonicWithoutThePrimary(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	db := b.Open(t, replica.Options{Monotonic: true, Wait: -1})
	b.Pause(t, 0)
	writer, s := db.Session(), db.Session()
	write(t, writer, "one")
	s.Carry(writer.Token(t.Context()))
	read(t, s)
	wantReason(t, s, replica.NoneCaughtUp)
	b.Resume(t, 0)
	if err := b.Cluster.Standbys[0].WaitReplayed(t.Context(), b.Cluster.Primary); err != nil {
		t.Fatal(err)
	}
	if err := b.Cluster.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	need, err := replica.ParseToken(writer.Token(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	replicatest.Until(t, "a probe has seen that the standby has it", func() error {
		if at := db.Hosts()[0].Position; at.Compare(need) < 0 {
			return errors.New(at.String())
		}
		return nil
	})
	if err := s.Read().QueryRow(t.Context(), "SELECT 1").Scan(new(int)); err == nil {
		t.Errorf("served although the primary is away: %s", s.Explain())
	}
}
