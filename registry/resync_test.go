package registry_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"casq/eventlog"
	"casq/registry"
)

func TestResyncOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	token := b.Create(t, 1, "x")
	if err := r.Publish(claim(t, r, token), registry.Result{}, nil); err != nil {
		t.Fatal(err)
	}
	version, err := registry.ResyncOne(t.Context(), b.Pool, b.Queue, kind, "x", false)
	if err != nil || version <= token.Version {
		t.Fatal(version, err)
	}
	b.WantJobs(t, jobFor("x", version, false))
	if got := b.Row(t, "x"); got.Status != "pending" || got.Version != version || !is(got.Synced, token.Version) {
		t.Errorf("got %+v", got)
	}
	if _, err := registry.ResyncOne(t.Context(), b.Pool, b.Queue, kind, "y", false); !errors.Is(err, registry.ErrNoRow) {
		t.Errorf("got %v", err)
	}
	b.WantJobs(t)
}

// A fresh one uses nothing of what is in place, and ends copies that do.
func TestResyncFresh(t *testing.T) {
	t.Parallel()
	for name, resync := range map[string]func(b *testBundle) error{
		"one": func(b *testBundle) error {
			_, err := registry.ResyncOne(t.Context(), b.Pool, b.Queue, kind, "x", true)
			return err
		},
		"kind": func(b *testBundle) error {
			_, err := registry.ResyncKind(t.Context(), b.Pool, b.Queue, kind, registry.ResyncOptions{Fresh: true})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			r := b.Registry(t)
			b.synced(t, r, 1, "x")
			updating := claim(t, r, b.Update(t, 2, "x"))
			b.TakeJobs(t)
			if err := resync(b); err != nil {
				t.Fatal(err)
			}
			if err := r.Publish(updating, registry.Result{Partial: true}, nil); !errors.Is(err, registry.ErrSuperseded) {
				t.Errorf("a copy that uses what is in place: %v", err)
			}
			if c := claim(t, r, b.TakeJobs(t)[0].Token); !c.Fresh {
				t.Errorf("got %+v", c)
			}
		})
	}
}

// resyncBundle has a resource in each state, by name.
func resyncBundle(t *testing.T) *testBundle {
	t.Helper()
	b := setup(t)
	r := b.Registry(t)
	end := func(token registry.Token, what string) {
		c := claim(t, r, token)
		var err error
		switch what {
		case "failed":
			_, err = r.Fail(c, errors.New("e"), nil)
		case "retried":
			_, err = r.Fail(c, errors.New("e"), new(time.Now()))
		case "synced", "removed":
			err = r.Publish(c, registry.Result{}, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"failed", "failed, then synced", "pending", "removed", "removing", "retried", "synced", "started"} {
		token := b.Create(t, int64(10*i+1), name)
		switch name {
		case "failed, then synced":
			end(token, "failed")
			end(token, "synced")
		case "removed", "removing":
			b.Apply(t, event(int64(10*i+2), eventlog.Deleted, name, "{}"))
			token = b.TakeJobs(t)[0].Token
			if name == "removed" {
				end(token, name)
			}
		case "pending":
		default:
			end(token, name)
		}
	}
	return b
}

func TestResyncKind(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		opts registry.ResyncOptions
		want []string
	}{
		"all":        {registry.ResyncOptions{}, []string{"failed", "failed, then synced", "pending", "removing", "retried", "started", "synced"}},
		"failed":     {registry.ResyncOptions{FailedOnly: true}, []string{"failed", "retried"}},
		"by ones":    {registry.ResyncOptions{PageSize: 1}, []string{"failed", "failed, then synced", "pending", "removing", "retried", "started", "synced"}},
		"by halves":  {registry.ResyncOptions{PageSize: 4}, []string{"failed", "failed, then synced", "pending", "removing", "retried", "started", "synced"}},
		"failed, by": {registry.ResyncOptions{PageSize: 3, FailedOnly: true}, []string{"failed", "retried"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := resyncBundle(t)
			counted, err := registry.CountResync(t.Context(), b.Pool, kind, test.opts.FailedOnly)
			if err != nil || counted != int64(len(test.want)) {
				t.Errorf("counted %d: %v", counted, err)
			}
			var asked []registry.Job
			test.opts.Asked = func(page []registry.Job) error { asked = append(asked, page...); return nil }
			var progress []int
			test.opts.Progress = func(n int) { progress = append(progress, n) }
			done, err := registry.ResyncKind(t.Context(), b.Pool, b.Queue, kind, test.opts)
			if want := (registry.Resynced{Raised: len(test.want)}); err != nil || done != want {
				t.Errorf("got %+v: %v", done, err)
			}
			var got []string
			for i, j := range b.TakeJobs(t) {
				if len(asked) <= i || asked[i].Token != j.Token || asked[i].Urgency != registry.Bulk {
					t.Errorf("said that it has asked for %v", asked)
				}
				got = append(got, j.ResourceID)
				row := b.Row(t, j.ResourceID)
				if row.Version != j.Version || row.Deleted != j.Deleted || row.Attempts != 0 || row.LastError != nil {
					t.Errorf("job %v for row %+v", j, row)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if !slices.IsSorted(progress) || progress[len(progress)-1] != done.Asked() {
				t.Errorf("progress was %v", progress)
			}
			if n, err := registry.ResyncKind(t.Context(), b.Pool, b.Queue, "unknown", test.opts); n != (registry.Resynced{}) || err != nil {
				t.Errorf("unknown kind: %+v, %v", n, err)
			}
		})
	}
}

// Other kinds whose names surround this one's are left alone.
func TestResyncIsOfOneKind(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i, k := range []string{"thin", kind, "resources"} {
		b.Exec(t, "SELECT casq.define_kind($1, 'none')", k)
		b.Exec(t, "INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload) VALUES ($1, 'x', 1, $2, 1, '{}')", k, i)
	}
	n, err := registry.ResyncKind(t.Context(), b.Pool, b.Queue, kind, registry.ResyncOptions{PageSize: 2})
	if err != nil || n.Raised != 1 {
		t.Fatal(n, err)
	}
	if jobs := b.TakeJobs(t); len(jobs) != 1 || jobs[0].Kind != kind {
		t.Errorf("got %v", jobs)
	}
}

// A resync in the middle of a run: the run's copy counts as what it is, and the
// newer version's job follows.
func TestResyncDuringARun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	c := claim(t, r, b.Create(t, 1, "x"))
	for i := range 3 {
		if _, err := registry.ResyncKind(t.Context(), b.Pool, b.Queue, kind, registry.ResyncOptions{}); err != nil {
			t.Fatal(err)
		}
		jobs := b.TakeJobs(t)
		if len(jobs) != 1 {
			t.Fatal(fmt.Sprint("turn ", i), jobs)
		}
		if _, err := r.Claim(t.Context(), jobs[0].Token, 8); !errors.Is(err, registry.ErrHandedOver) {
			t.Fatal(err)
		}
	}
	if err := r.Publish(c, registry.Result{}, nil); err != nil {
		t.Fatal(err)
	}
	got := b.Row(t, "x")
	b.WantJobs(t, jobFor("x", got.Version, false))
	if got.Status != "pending" || !is(got.Synced, c.Version) {
		t.Errorf("got %+v", got)
	}
}
