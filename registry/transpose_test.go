package registry_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/testing/long"

	"github.com/jackc/pgx/v5"
)

func TestABatchIsOneIntentPerResource(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Apply(t,
		event(1, eventlog.Created, "b", `{"n": 1}`),
		event(2, eventlog.Created, "a", `{"n": 2}`),
		event(3, eventlog.Updated, "b", `{"n": 3}`),
		event(4, eventlog.Created, "c", `{"n": 4}`),
		event(5, eventlog.Deleted, "c", `{}`),
		event(6, eventlog.Created, "Z", `{"n": 6}`))
	a, other, c, z := b.Row(t, "a"), b.Row(t, "b"), b.Row(t, "c"), b.Row(t, "Z")
	b.WantJobs(t, jobFor("Z", z.Version, false), jobFor("a", a.Version, false), jobFor("b", other.Version, false), jobFor("c", c.Version, true))
	if other.EventID != 3 || other.Payload != `{"n": 3}` || other.Tick != 6 || other.Timeline != 1 || other.Incarnation != 1 {
		t.Errorf("b is not its last event: %+v", other)
	}
	if !c.Deleted || c.Incarnation != 2 || c.Status != "removing" {
		t.Errorf("c is no tombstone: %+v", c)
	}
	if a.Status != "pending" {
		t.Errorf("a is %s", a.Status)
	}
}

// The rules for events that are not newer than the row, and for deletes.
func TestEventsOutOfOrder(t *testing.T) {
	t.Parallel()
	type batch []eventlog.Event
	const created, updated, deleted = eventlog.Created, eventlog.Updated, eventlog.Deleted
	for name, test := range map[string]struct {
		batches     []batch
		raised      bool // whether the last batch gave a new version
		deleted     bool
		eventID     int64
		payload     string
		incarnation int64
	}{
		"older on a tombstone": {
			batches: []batch{{event(5, deleted, "x", `{}`)}, {event(4, created, "x", `{"n": 4}`)}},
			deleted: true, eventID: 5, payload: `{}`, incarnation: 2,
		},
		"the same again on a tombstone": {
			batches: []batch{{event(5, deleted, "x", `{}`)}, {event(5, deleted, "x", `{}`)}},
			deleted: true, eventID: 5, payload: `{}`, incarnation: 2,
		},
		"older on a live row": {
			batches: []batch{{event(5, created, "x", `{"n": 5}`)}, {event(4, updated, "x", `{"n": 4}`)}},
			raised:  true, eventID: 5, payload: `{"n": 5}`, incarnation: 1,
		},
		"older delete on a live row": {
			batches: []batch{{event(5, created, "x", `{"n": 5}`)}, {event(4, deleted, "x", `{}`)}},
			raised:  true, eventID: 5, payload: `{"n": 5}`, incarnation: 2,
		},
		"newer create on a tombstone": {
			batches: []batch{{event(5, deleted, "x", `{}`)}, {event(6, created, "x", `{"n": 6}`)}},
			raised:  true, eventID: 6, payload: `{"n": 6}`, incarnation: 2,
		},
		"a delete keeps the payload": {
			batches: []batch{{event(5, created, "x", `{"n": 5}`)}, {event(6, deleted, "x", `{}`)}},
			raised:  true, deleted: true, eventID: 6, payload: `{"n": 5}`, incarnation: 2,
		},
		"a delete that is collapsed away": {
			batches: []batch{{event(5, created, "x", `{"n": 5}`)}, {event(6, deleted, "x", `{}`), event(7, created, "x", `{"n": 7}`)}},
			raised:  true, eventID: 7, payload: `{"n": 7}`, incarnation: 2,
		},
		"two deletes that are collapsed away": {
			batches: []batch{{
				event(5, created, "x", `{}`), event(6, deleted, "x", `{}`),
				event(7, created, "x", `{}`), event(8, deleted, "x", `{}`), event(9, created, "x", `{"n": 9}`),
			}},
			raised: true, eventID: 9, payload: `{"n": 9}`, incarnation: 3,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			before := int64(0)
			for i, events := range test.batches {
				if i > 0 {
					before = b.Row(t, "x").Version
					b.TakeJobs(t)
				}
				b.Apply(t, events...)
			}
			got := b.Row(t, "x")
			if raised := got.Version > before; raised != test.raised {
				t.Errorf("version %d after %d", got.Version, before)
			}
			if test.raised {
				b.WantJobs(t, jobFor("x", got.Version, test.deleted))
			} else {
				b.WantJobs(t)
			}
			if got.Deleted != test.deleted || got.EventID != test.eventID || got.Payload != test.payload || got.Incarnation != test.incarnation {
				t.Errorf("got %+v, want %+v", got, test)
			}
		})
	}
}

// After a failover that lost events, the numbers of a newer timeline begin below
// those of the older one.
func TestANewerTimelineHasLowerNumbers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	batch := func(timeline int32, tick, id int64, op eventlog.Op, payload string) {
		b.ApplyBatch(t, eventlog.Batch{
			Events:   []eventlog.Event{event(id, op, "x", payload)},
			Timeline: eventlog.Timeline{Ordinal: timeline}, Tick: tick,
		})
	}
	batch(1, 100, 900, eventlog.Deleted, `{}`)
	batch(2, 61, 601, eventlog.Created, `{"n": 601}`)
	got := b.Row(t, "x")
	if got.Deleted || got.Timeline != 2 || got.Tick != 61 || got.EventID != 601 || got.Payload != `{"n": 601}` {
		t.Fatalf("the newer timeline's event did not win: %+v", got)
	}
	batch(1, 101, 950, eventlog.Updated, `{"n": 950}`)
	after := b.Row(t, "x")
	if after.Version <= got.Version || after.Timeline != 2 || after.Tick != 61 || after.EventID != 601 || after.Payload != `{"n": 601}` {
		t.Fatalf("the older timeline's event left a trace: %+v", after)
	}
}

func TestANewVersionStartsAfresh(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	token := b.Create(t, 1, "x")
	c := claim(t, r, token)
	b.Exec(t, `UPDATE casq.registry SET attempts = 9, failed_version = version, last_error = 'e',
		retry_at = now() + '1 day', asked = true`)
	b.Apply(t, event(2, eventlog.Updated, "x", `{}`))
	got := b.Row(t, "x")
	if got.Attempts != 0 || got.LastError != nil || got.RetryAt != nil {
		t.Errorf("attempts of the old version are left: %+v", got)
	}
	if !is(got.Failed, token.Version) || got.Status != "started" {
		t.Errorf("failed version %v, status %s", got.Failed, got.Status)
	}
	if !is(got.Claim, c.ID) || !is(got.Process, r.Process().ID()) || !is(got.Job, 7) || !got.Asked {
		t.Errorf("the claim was touched: %+v", got)
	}
}

func TestKindsAreLearnt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	batch := learning("artifact", "event")
	errRollBack := errors.New("roll back")
	err := pgx.BeginFunc(t.Context(), b.Pool, func(tx pgx.Tx) error {
		// In parts, as a batch is applied that has failed. The later ones read
		// what the first ones have inserted.
		for _, kind := range []string{"artifact", "event", "event"} {
			if err := b.Transposer.Apply(t.Context(), tx, learning(kind)); err != nil {
				return err
			}
		}
		return errRollBack
	})
	if !errors.Is(err, errRollBack) {
		t.Fatal(err)
	}
	// Rolled back: nothing may be remembered.
	b.ApplyBatch(t, batch)
	b.ApplyBatch(t, batch)
	kinds, err := eventlog.Kinds(t.Context(), b.Pool)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"artifact", "event"} {
		if kinds[name] != batch.Kinds[name] {
			t.Errorf("learnt %+v, want %+v", kinds[name], batch.Kinds[name])
		}
	}
}

// A kind of the source that home refuses to have, and one that nobody has
// defined, are no reason to refuse events of other kinds.
func TestKindsThatAreRefused(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.Exec(t, "SELECT casq.define_kind('document', 'git', queue => 'files')")
	b.ApplyBatch(t, learning("event"))
	for kind, want := range map[string]error{"artifact": nil, "nobodys": eventlog.ErrUnknownKind} {
		err := pgx.BeginFunc(t.Context(), b.Pool, func(tx pgx.Tx) error {
			return b.Transposer.Apply(t.Context(), tx, learning("event", kind))
		})
		if err == nil || (want != nil && !errors.Is(err, want)) || (want == nil && database.Code(err) != "22023") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// learning is a batch with an event of each kind, of a source that has a few.
func learning(kinds ...string) eventlog.Batch {
	batch := eventlog.Batch{Timeline: eventlog.Timeline{Ordinal: 1}, Tick: 1, Kinds: map[string]eventlog.Kind{
		"artifact": {Name: "artifact", Transfer: eventlog.TransferFile, Queue: "files", Prefix: "a", Missing: eventlog.MissingAbsent, Quiet: 2 * time.Second, Probe: time.Minute},
		"event":    {Name: "event", Transfer: eventlog.TransferNone, Queue: "event", Missing: eventlog.MissingFailed},
	}}
	for i, kind := range kinds {
		batch.Events = append(batch.Events, eventlog.Event{ID: int64(i + 1), Kind: kind, ResourceID: "k", Op: eventlog.Created, Payload: []byte("{}")})
	}
	return batch
}

// The order of rows and jobs is the order of locks, and is that of bytes, in Go
// as in the database.
func TestKeysAreInOrderOfBytes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	keys := []string{"é", "z", "Z", "a b", "a-b", "a/b", "aB", "ab", "\u00a0", "日本", "_", "0", strings.Repeat("k", 1024)}
	events := make([]eventlog.Event, len(keys))
	for i, key := range keys {
		events[i] = event(int64(i+1), eventlog.Created, key, "{}")
	}
	b.Apply(t, events...)
	var got []string
	for _, j := range b.TakeJobs(t) {
		got = append(got, j.ResourceID)
	}
	var want []string
	if err := b.Pool.QueryRow(t.Context(), "SELECT array_agg(resource_id ORDER BY resource_id) FROM casq.registry").Scan(&want); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("jobs are in the order %q, rows in %q", got, want)
	}
}

// A create of what an earlier timeline of the source has told of is of another resource;
// in the same timeline it is of one that a page has shown before. A new row has no
// incarnation behind it.
func TestACreateOfALaterTimelineIsOfAnotherResource(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.Apply(t, event(1, eventlog.Created, "created", `{}`), event(2, eventlog.Created, "updated", `{}`),
		event(3, eventlog.Created, "both", `{}`), event(4, eventlog.Created, "gone", `{}`), event(5, eventlog.Deleted, "gone", `{}`))
	again := []eventlog.Event{
		event(1, eventlog.Created, "created", `{}`), event(2, eventlog.Updated, "updated", `{}`),
		event(3, eventlog.Created, "both", `{}`), event(4, eventlog.Updated, "both", `{}`),
		event(5, eventlog.Created, "gone", `{}`), event(6, eventlog.Created, "new", `{}`),
	}
	for range 2 {
		b.ApplyBatch(t, eventlog.Batch{Timeline: eventlog.Timeline{Ordinal: 2}, Tick: 1, Events: again})
		for key, want := range map[string]int64{"created": 2, "updated": 1, "both": 2, "gone": 2, "new": 1} {
			if got := b.Row(t, key); got.Incarnation != want || got.Timeline != 2 || got.Deleted {
				t.Errorf("%s: %+v, want incarnation %d", key, got, want)
			}
		}
	}
}
