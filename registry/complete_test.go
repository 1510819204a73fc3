package registry_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"casq/eventlog"
	"casq/registry"
)

// publication is a publish function that counts its calls.
type publication struct {
	calls int
	err   error
}

func (p *publication) do(context.Context) error {
	p.calls++
	return p.err
}

func TestPublishTheNewest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	token := b.Create(t, 1, "x")
	c := claim(t, r, token)
	b.Exec(t, "UPDATE casq.registry SET last_error = 'earlier', retry_at = now(), failed_version = version")
	p := &publication{}
	if err := r.Publish(c, registry.Result{Checksum: "sum", Size: 5}, p.do); err != nil || p.calls != 1 {
		t.Fatalf("%v after %d calls", err, p.calls)
	}
	got := b.Row(t, "x")
	if got.Status != "synced" || !is(got.Synced, token.Version) || !is(got.SyncedIn, 1) || !is(got.Checksum, "sum") || !is(got.Size, 5) {
		t.Errorf("got %+v", got)
	}
	if got.Claim != nil || got.Process != nil || got.Job != nil || got.Asked || got.LastError != nil || got.RetryAt != nil {
		t.Errorf("the attempt is left: %+v", got)
	}
	b.WantJobs(t)
}

// What becomes of a publication whose row has changed meanwhile.
func TestPublishAfterAChange(t *testing.T) {
	t.Parallel()
	change := func(op eventlog.Op) func(*testing.T, *testBundle) {
		return func(t *testing.T, b *testBundle) {
			b.Apply(t, event(50, op, "x", "{}"))
		}
	}
	recreate := func(t *testing.T, b *testBundle) {
		b.Apply(t, event(50, eventlog.Deleted, "x", "{}"), event(51, eventlog.Created, "x", "{}"))
	}
	resync := func(t *testing.T, b *testBundle) {
		if _, err := registry.ResyncOne(t.Context(), b.Pool, b.Queue, kind, "x", false); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		removal bool
		change  func(*testing.T, *testBundle)
		err     error
		status  string
	}{
		"updated":                   {false, change(eventlog.Updated), nil, "pending"},
		"resynced":                  {false, resync, nil, "pending"},
		"deleted":                   {false, change(eventlog.Deleted), registry.ErrSuperseded, "removing"},
		"deleted and created":       {false, recreate, registry.ErrSuperseded, "pending"},
		"removal, created again":    {true, change(eventlog.Created), registry.ErrSuperseded, "pending"},
		"removal, resynced":         {true, resync, registry.ErrSuperseded, "removing"},
		"removal, deleted again":    {true, recreateAndDelete, registry.ErrSuperseded, "removing"},
		"removal, nothing happened": {true, func(*testing.T, *testBundle) {}, nil, "removed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			r := b.Registry(t)
			token := b.Create(t, 1, "x")
			if test.removal {
				b.Apply(t, event(2, eventlog.Deleted, "x", "{}"))
				token = b.TakeJobs(t)[0].Token
			}
			c := claim(t, r, token)
			test.change(t, b)
			jobs := b.TakeJobs(t)
			for _, j := range jobs { // the newer version's job comes too early
				if _, err := r.Claim(t.Context(), j.Token, 8); !errors.Is(err, registry.ErrHandedOver) {
					t.Fatal(err)
				}
			}
			p := &publication{}
			err := r.Publish(c, registry.Result{Checksum: "sum", Size: 5}, p.do)
			if !errors.Is(err, test.err) || (test.err == nil) != (err == nil) {
				t.Errorf("got error %v, want %v", err, test.err)
			}
			got := b.Row(t, "x")
			if published := err == nil; published != (p.calls == 1) || published != is(got.Synced, token.Version) {
				t.Errorf("%d publications, row %+v", p.calls, got)
			}
			if got.Claim != nil || got.Asked || got.Status != test.status {
				t.Errorf("claim not given back: %+v", got)
			}
			b.WantJobs(t, jobs...) // they asked
		})
	}
}

func recreateAndDelete(t *testing.T, b *testBundle) {
	b.Apply(t, event(50, eventlog.Created, "x", "{}"), event(51, eventlog.Deleted, "x", "{}"))
}

func TestARunThatWasTakenOverWritesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, second := b.Registry(t), b.Registry(t)
	token := b.Create(t, 1, "x")
	old := claim(t, first, token)
	b.Kill(t, first.Process())
	c := claim(t, second, token)
	before := b.Row(t, "x")
	p := &publication{}
	if err := first.Publish(old, registry.Result{Checksum: "old"}, p.do); !errors.Is(err, registry.ErrFenced) || p.calls != 0 {
		t.Errorf("publish: %v after %d calls", err, p.calls)
	}
	if superseded, err := first.Fail(old, errors.New("late"), new(time.Now())); !errors.Is(err, registry.ErrFenced) || superseded {
		t.Errorf("fail: %v", err)
	}
	if err := first.Release(old); !errors.Is(err, registry.ErrFenced) {
		t.Errorf("release: %v", err)
	}
	after := b.Row(t, "x")
	if !is(after.Claim, c.ID) || after.LastError != nil || after.RetryAt != nil || after.Attempts != before.Attempts || after.Synced != nil {
		t.Errorf("row was %+v and is %+v", before, after)
	}
	b.WantJobs(t)
}

func TestAFailedPublicationKeepsTheClaim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	token := b.Create(t, 1, "x")
	c := claim(t, r, token)
	p := &publication{err: errors.New("disk full")}
	if err := r.Publish(c, registry.Result{}, p.do); !errors.Is(err, p.err) {
		t.Fatalf("got %v", err)
	}
	if got := b.Row(t, "x"); !is(got.Claim, c.ID) || got.Synced != nil || got.Status != "started" {
		t.Errorf("got %+v", got)
	}
	p.err = nil
	if err := r.Publish(c, registry.Result{}, p.do); err != nil {
		t.Fatal(err)
	}
	if got := b.Row(t, "x"); got.Status != "synced" {
		t.Errorf("got %+v", got)
	}
}

func TestFailWritesUnderItsVersionOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	token := b.Create(t, 1, "x")
	c := claim(t, r, token)
	retryAt := time.Now().Add(time.Hour).Truncate(time.Microsecond)
	superseded, err := r.Fail(c, errors.New("no\x00such \xff file "+strings.Repeat("é", 5000)), &retryAt)
	if superseded || err != nil {
		t.Fatal(superseded, err)
	}
	got := b.Row(t, "x")
	if got.Status != "failed" || !is(got.Failed, token.Version) || got.RetryAt == nil || !got.RetryAt.Equal(retryAt) || got.Claim != nil || got.Attempts != 1 {
		t.Errorf("got %+v", got)
	}
	if got.LastError == nil || !strings.HasPrefix(*got.LastError, "no?such ? file éé") || len(*got.LastError) > 4000 {
		t.Errorf("got %+v", got)
	}
	b.WantJobs(t)

	c = claim(t, r, token)
	newer := b.Update(t, 2, "x")
	superseded, err = r.Fail(c, errors.New("late"), &retryAt)
	if !superseded || err != nil {
		t.Fatal(superseded, err)
	}
	got = b.Row(t, "x")
	if got.Status != "pending" || got.LastError != nil || got.RetryAt != nil || got.Claim != nil || got.Attempts != 0 || got.Version != newer.Version {
		t.Errorf("a failure of the old version reached the new one: %+v", got)
	}
}

func TestReleaseIsNoAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	token := b.Create(t, 1, "x")
	c := claim(t, r, token)
	if err := r.Release(c); err != nil {
		t.Fatal(err)
	}
	if got := b.Row(t, "x"); got.Status != "pending" || got.Attempts != 0 || got.Claim != nil || got.LastError != nil {
		t.Errorf("got %+v", got)
	}
	b.WantJobs(t, registry.Job{Token: token})

	c = claim(t, r, token)
	newer := b.Update(t, 2, "x")
	if err := r.Release(c); err != nil {
		t.Fatal(err)
	}
	if got := b.Row(t, "x"); got.Status != "pending" || got.Attempts != 0 || got.Claim != nil {
		t.Errorf("got %+v", got)
	}
	b.WantJobs(t, registry.Job{Token: newer})
}

// Whoever was handed over is replaced by a job for the row's version, unless
// that is in place.
func TestWhoAskedIsAnswered(t *testing.T) {
	t.Parallel()
	end := map[string]func(*testing.T, *registry.Registry, *registry.Claim){
		"publish": func(t *testing.T, r *registry.Registry, c *registry.Claim) {
			if err := r.Publish(c, registry.Result{}, nil); err != nil {
				t.Error(err)
			}
		},
		"fail": func(t *testing.T, r *registry.Registry, c *registry.Claim) {
			if _, err := r.Fail(c, errors.New("e"), nil); err != nil {
				t.Error(err)
			}
		},
		"release": func(t *testing.T, r *registry.Registry, c *registry.Claim) {
			if err := r.Release(c); err != nil {
				t.Error(err)
			}
		},
	}
	for name, end := range end {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			r := b.Registry(t)
			token := b.Create(t, 1, "x")
			c := claim(t, r, token)
			if _, err := r.Claim(t.Context(), token, 8); !errors.Is(err, registry.ErrHandedOver) {
				t.Fatal(err)
			}
			end(t, r, c)
			if name == "publish" {
				b.WantJobs(t)
			} else {
				b.WantJobs(t, registry.Job{Token: token})
			}
		})
	}
}
