package registry_test

import (
	"context"
	"errors"
	"testing"

	"casq/eventlog"
	"casq/registry"

	"github.com/google/uuid"
)

// Work is cancelled when what it makes may not be published any more, and only
// then; and whoever waits for the claim gets it by the run's end.
func TestWorkForNothingIsCancelled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	var id int64
	type change = func(key string)
	events := func(ops ...eventlog.Op) change {
		return func(key string) {
			var batch []eventlog.Event
			for _, op := range ops {
				id++
				batch = append(batch, event(id, op, key, "{}"))
			}
			b.Apply(t, batch...)
		}
	}
	for name, test := range map[string]struct {
		removal bool
		change  change
		cause   error // nil: it goes on
	}{
		"nothing happens":            {false, func(string) {}, nil},
		"updated":                    {false, events(eventlog.Updated), nil},
		"deleted":                    {false, events(eventlog.Deleted), registry.ErrReplaced},
		"replaced":                   {false, events(eventlog.Deleted, eventlog.Created), registry.ErrReplaced},
		"deleted and created":        {false, func(key string) { events(eventlog.Deleted)(key); events(eventlog.Created)(key) }, registry.ErrReplaced},
		"removal, nothing happens":   {true, func(string) {}, nil},
		"removal, created again":     {true, events(eventlog.Created), registry.ErrReplaced},
		"removal, deleted again":     {true, events(eventlog.Deleted), registry.ErrReplaced},
		"cancelled":                  {false, func(key string) { b.cancel(t, key) }, registry.ErrCancelled},
		"updated, and cancelled":     {false, func(key string) { events(eventlog.Updated)(key); b.cancel(t, key) }, registry.ErrCancelled},
		"removal, cancelled":         {true, func(key string) { b.cancel(t, key) }, registry.ErrCancelled},
		"cancelled, asked for again": {false, func(key string) { b.cancel(t, key); events(eventlog.Updated)(key) }, nil},
		"the row is gone":            {false, func(key string) { b.Exec(t, "DELETE FROM casq.registry WHERE resource_id = $1", key) }, registry.ErrFenced},
		"the claim is gone": {false, func(key string) {
			b.Exec(t, "UPDATE casq.registry SET claim = NULL, claim_process = NULL WHERE resource_id = $1", key)
		}, registry.ErrFenced},
		"removal, the claim is gone": {true, func(key string) {
			b.Exec(t, "UPDATE casq.registry SET claim = gen_random_uuid() WHERE resource_id = $1", key)
		}, registry.ErrFenced},
	} {
		id++
		token := b.Create(t, id, name)
		if test.removal {
			events(eventlog.Deleted)(name)
			token = b.TakeJobs(t)[0].Token
		}
		c := claim(t, r, token)
		ctx, stop := r.Process().Context(t.Context(), c)
		test.change(name)
		for range 2 {
			if err := r.Process().WatchClaims(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := context.Cause(ctx); !errors.Is(got, test.cause) || (got == nil) != (test.cause == nil) {
			t.Errorf("%s: the cause is %v, want %v", name, got, test.cause)
		}
		stop()
		jobs := b.TakeJobs(t)
		if !errors.Is(test.cause, registry.ErrReplaced) {
			continue
		}
		newest := jobs[len(jobs)-1]
		if _, err := r.Claim(t.Context(), newest.Token, 8); !errors.Is(err, registry.ErrHandedOver) {
			t.Errorf("%s: %v", name, err)
		}
		if superseded, err := r.Fail(c, context.Cause(ctx), nil); !superseded || err != nil {
			t.Errorf("%s: ended with %v, %v", name, superseded, err)
		}
		b.WantJobs(t, newest)
		if got := b.Row(t, name); got.LastError != nil || got.Attempts != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// More claims than fit in a page; the first poll only remembers them.
func TestClaimsAreWatchedInPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.Process(t)
	var works []context.Context
	for range registry.WatchPage + 7 {
		ctx, stop := p.Context(t.Context(), &registry.Claim{Token: registry.Token{Kind: kind, ResourceID: "no such row"}, ID: uuid.New()})
		defer stop()
		works = append(works, ctx)
	}
	for poll, want := range []error{nil, registry.ErrFenced} {
		if err := p.WatchClaims(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, ctx := range works {
			if got := context.Cause(ctx); !errors.Is(got, want) {
				t.Fatalf("poll %d, work %d: the cause is %v, want %v", poll, i, got, want)
			}
		}
	}
}
