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
	"casq/replica"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// TestAForgedTokenIsNotWaitedFor: a token of a future takes none of the places of those
// that wait for a standby, and does not stop others from waiting.
func TestAForgedTokenIsNotWaitedFor(t *testing.T) {
	long.Test(t)
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

// queries counts the statements of a pool that have a text in them.
type queries struct {
	text string
	n    atomic.Int64
}

func (q *queries) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.Contains(data.SQL, q.text) {
		q.n.Add(1)
	}
	return ctx
}

func (q *queries) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TestForgedTimelinesCostNoQueryEach: whoever makes up tokens, each of another timeline, has
// the primary's timelines read ten times a second.
func TestForgedTimelinesCostNoQueryEach(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := replicatest.New(t, 1)
	config, err := pgxpool.ParseConfig(b.Cluster.URL())
	if err != nil {
		t.Fatal(err)
	}
	listings := &queries{text: "SELECT t.timeline FROM"}
	config.ConnConfig.Tracer = listings
	primary, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(primary.Close)
	db, err := replica.New(t.Context(), primary, replica.Options{Standbys: replica.URLs(b.URLs()...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	write(t, db.Session(), "one")
	began := time.Now()
	const forged = 300
	for i := range int64(forged) {
		s := db.Session()
		s.Carry(replica.Position{Timeline: i + 1, LSN: 1}.Token())
		read(t, s)
		wantReason(t, s, replica.ForeignToken)
	}
	most := 2 + int64(time.Since(began)/(100*time.Millisecond))
	if n := listings.n.Load(); n == 0 || n > min(most, forged/2) {
		t.Errorf("%d tokens cost %d queries, want %d at most", forged, n, most)
	}
}
