package registry_test

import (
	"errors"
	"strings"
	"testing"

	"casq/eventlog"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// moves has "a" in place, which has got the key "b".
func (b *testBundle) moved(t *testing.T, r *registry.Registry) (to, from registry.Token) {
	t.Helper()
	if err := r.Publish(claim(t, r, b.Create(t, 1, "a")), registry.Result{Checksum: "sum"}, nil); err != nil {
		t.Fatal(err)
	}
	b.TakeJobs(t)
	b.Apply(t, b.move(2, "a", "b")...)
	b.TakeJobs(t)
	return registry.Token{Kind: kind, ResourceID: "b", Version: b.Row(t, "b").Version}, registry.Token{Kind: kind, ResourceID: "a", Version: b.Row(t, "a").Version}
}

func (b *testBundle) move(id int64, from, to string) []eventlog.Event {
	gone, come := event(id, eventlog.Deleted, from, `{}`), event(id+1, eventlog.Created, to, `{}`)
	gone.Moved, come.Moved = to, from
	return []eventlog.Event{gone, come}
}

func wantKept(t *testing.T, b *testBundle, r *registry.Registry, from registry.Token) {
	t.Helper()
	if err := r.Process().SweepMoves(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.WantJobs(t)
	if _, err := r.Claim(t.Context(), from, 9); !errors.Is(err, registry.ErrSuperseded) {
		t.Errorf("the removal of %s is claimed: %v", from.ResourceID, err)
	}
}

// The old copy stays, which is no failure and not late; the new one is made of it, and then
// the old one goes.
func TestAMoveKeepsTheOldCopy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	to, from := b.moved(t, r)
	wantKept(t, b, r, from)
	if why := b.Text(t, "SELECT casq.why($1, 'a')", kind); !strings.Contains(why, "; it stays until its resource is in place under its new key, 'b', which is pending") || strings.Contains(why, "no job") {
		t.Error(why)
	}
	if why := b.Text(t, "SELECT casq.why($1, 'b')", kind); !strings.Contains(why, "; it comes from 'a', whose copy is used") {
		t.Error(why)
	}
	if late := b.Text(t, "SELECT resources::text FROM casq.replication_lags WHERE kind = $1", kind); late != "1" {
		t.Errorf("%s resources are late; want 1, which is b", late)
	}
	c := claim(t, r, to)
	if want := (registry.Base{Key: "a", Incarnation: 1}); c.Base != want || c.Aside != 0 {
		t.Errorf("got base %v and aside %d, want %v", c.Base, c.Aside, want)
	}
	// It has failed for good, or was cancelled: it still lives, and this is its only copy.
	if _, err := r.Fail(c, errors.New("no"), nil); err != nil {
		t.Fatal(err)
	}
	wantKept(t, b, r, from)
	if late := b.Text(t, "SELECT resources::text FROM casq.replication_lags WHERE kind = $1", kind); late != "0" {
		t.Errorf("%s resources are late; want none: what has failed is told elsewhere", late)
	}
	if err := r.Publish(claim(t, r, to), registry.Result{Checksum: "sum"}, nil); err != nil {
		t.Fatal(err)
	}
	b.WantJobs(t, jobFor("a", from.Version, true))
	if !claim(t, r, from).Deleted {
		t.Error("a is copied")
	}
}

// Whatever ends a move wakes the removal.
func TestAMoveEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end   func(t *testing.T, b *testBundle)
		swept bool
	}{
		"the resource is deleted": {end: func(t *testing.T, b *testBundle) { t.Helper(); b.Apply(t, event(4, eventlog.Deleted, "b", `{}`)) }},
		"the resource is another one": {end: func(t *testing.T, b *testBundle) {
			t.Helper()
			b.Apply(t, event(4, eventlog.Deleted, "b", `{}`), event(5, eventlog.Created, "b", `{}`))
		}},
		"it is not wanted here any more": {swept: true, end: func(t *testing.T, b *testBundle) {
			t.Helper()
			b.Exec(t, "UPDATE casq.registry SET deleted_at = now(), version = nextval('casq.registry_version') WHERE resource_id = 'b'")
		}},
		"the row is gone": {swept: true, end: func(t *testing.T, b *testBundle) {
			t.Helper()
			b.Exec(t, "DELETE FROM casq.registry WHERE resource_id = 'b'")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			r := b.Registry(t)
			_, from := b.moved(t, r)
			wantKept(t, b, r, from)
			test.end(t, b)
			if test.swept {
				if err := r.Process().SweepMoves(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			woken := false
			for _, j := range b.TakeJobs(t) {
				woken = woken || j == jobFor("a", from.Version, true)
			}
			if !woken || !claim(t, r, from).Deleted {
				t.Error("the removal was not woken")
			}
		})
	}
}

// While the step of the log that told of the old key was not read to its end, or the event
// of the new key is dead-lettered, the new key is not known to be not wanted.
func TestAMoveWaitsForItsOtherEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	b.Exec(t, `INSERT INTO casq.cursors (name, system_identifier, timeline, timeline_id, tick, nonce) VALUES ('registry', 1, 1, gen_random_uuid(), 1, gen_random_uuid())`)
	if err := r.Publish(claim(t, r, b.Create(t, 1, "a")), registry.Result{Checksum: "sum"}, nil); err != nil {
		t.Fatal(err)
	}
	b.TakeJobs(t)
	b.Apply(t, b.move(2, "a", "b")[0])
	from := b.TakeJobs(t)[0].Token
	wantKept(t, b, r, from)
	b.Exec(t, `INSERT INTO casq.event_failures (cursor, timeline, event_id, tick, kind, resource_id, op, occurred_at, reason, tries)
		VALUES ('registry', 1, 3, 3, $1, 'b', 'created', now(), 'bad', 1)`, kind)
	b.Exec(t, "UPDATE casq.cursors SET tick = 3")
	wantKept(t, b, r, from)
	b.Exec(t, "UPDATE casq.event_failures SET replayed_at = now()")
	if err := r.Process().SweepMoves(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.WantJobs(t, jobFor("a", from.Version, true))
}

// The source fails over, and its log tells of the rename again: nothing is lost, and what
// is to be moved is copied anew, as all that a later timeline tells of.
func TestAMoveIsToldOfAgainByAnotherTimeline(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	_, from := b.moved(t, r)
	b.Rewound(t, eventlog.Rewind{To: at(1, 1), Newest: at(2, 9)})
	b.ApplyBatch(t, eventlog.Batch{Events: b.move(2, "a", "b"), Timeline: eventlog.Timeline{Ordinal: 2}, Tick: 10})
	from.Version = b.Row(t, "a").Version
	b.TakeJobs(t)
	wantKept(t, b, r, from)
	c := claim(t, r, registry.Token{Kind: kind, ResourceID: "b", Version: b.Row(t, "b").Version})
	if c.Base.Key != "" || !c.Fresh {
		t.Errorf("got claim %+v, want a fresh copy", c)
	}
	if err := r.Publish(c, registry.Result{Checksum: "sum"}, nil); err != nil {
		t.Fatal(err)
	}
	b.WantJobs(t, jobFor("a", from.Version, true))
}

// A move may be planned while a claim waits for its row, by the transaction that has it:
// the claim sees the move, though none was there when it began.
func TestMovePlannedBeforeTheClaim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	token := b.want(t, kind, "new")
	claims := make(chan *registry.Claim, 1)
	err := pgx.BeginFunc(t.Context(), b.Pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), "SELECT FROM casq.registry WHERE resource_id = 'new' FOR UPDATE"); err != nil {
			return err
		}
		go func() {
			c, err := r.Claim(t.Context(), token, 1)
			if err != nil {
				t.Error(err)
			}
			claims <- c
		}()
		b.waitsForLock(t, "the claim waits for the row", "transactionid")
		_, err := tx.Exec(t.Context(), `INSERT INTO casq.moves (kind, resource_id, base_id, base_incarnation, via, incarnation, timeline, tick)
			VALUES ($1, 'new', 'old', 3, 'old', 1, 1, 1)`, kind)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if c := receive(t, "the claim", claims); c == nil || !c.Moved || c.Base != (registry.Base{Key: "old", Incarnation: 3}) {
		t.Errorf("claimed %+v", c)
	}
}
