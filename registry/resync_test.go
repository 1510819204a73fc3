package registry

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"casq/eventlog"
)

func TestResyncOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.registry(t)
	token := b.create(t, 1, "x")
	if err := r.Publish(claim(t, r, token), Result{}, nil); err != nil {
		t.Fatal(err)
	}
	version, err := ResyncOne(t.Context(), b.pool, b.queue, kind, "x", false)
	if err != nil || version <= token.Version {
		t.Fatal(version, err)
	}
	b.wantJobs(t, jobFor("x", version, false))
	if got := b.row(t, "x"); got.Status != "pending" || got.Version != version || !is(got.Synced, token.Version) {
		t.Errorf("got %+v", got)
	}
	if _, err := ResyncOne(t.Context(), b.pool, b.queue, kind, "y", false); !errors.Is(err, ErrNoRow) {
		t.Errorf("got %v", err)
	}
	b.wantJobs(t)
}

// A fresh one uses nothing of what is in place, and ends copies that do.
func TestResyncFresh(t *testing.T) {
	t.Parallel()
	for name, resync := range map[string]func(b *testBundle) error{
		"one": func(b *testBundle) error {
			_, err := ResyncOne(t.Context(), b.pool, b.queue, kind, "x", true)
			return err
		},
		"kind": func(b *testBundle) error {
			_, err := ResyncKind(t.Context(), b.pool, b.queue, kind, ResyncOptions{Fresh: true})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			r := b.registry(t)
			b.synced(t, r, 1, "x")
			updating := claim(t, r, b.update(t, 2, "x"))
			b.takeJobs(t)
			if err := resync(b); err != nil {
				t.Fatal(err)
			}
			if err := r.Publish(updating, Result{Partial: true}, nil); !errors.Is(err, ErrSuperseded) {
				t.Errorf("a copy that uses what is in place: %v", err)
			}
			if c := claim(t, r, b.takeJobs(t)[0].Token); !c.Fresh {
				t.Errorf("got %+v", c)
			}
		})
	}
}

// resyncBundle has a resource in each state, by name.
func resyncBundle(t *testing.T) *testBundle {
	t.Helper()
	b := setup(t)
	r := b.registry(t)
	end := func(token Token, what string) {
		c := claim(t, r, token)
		var err error
		switch what {
		case "failed":
			_, err = r.Fail(c, errors.New("e"), nil)
		case "retried":
			_, err = r.Fail(c, errors.New("e"), new(time.Now()))
		case "synced", "removed":
			err = r.Publish(c, Result{}, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range []string{"failed", "failed, then synced", "pending", "removed", "removing", "retried", "synced", "started"} {
		token := b.create(t, int64(10*i+1), name)
		switch name {
		case "failed, then synced":
			end(token, "failed")
			end(token, "synced")
		case "removed", "removing":
			b.apply(t, event(int64(10*i+2), eventlog.Deleted, name, "{}"))
			token = b.takeJobs(t)[0].Token
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
		opts ResyncOptions
		want []string
	}{
		"all":        {ResyncOptions{}, []string{"failed", "failed, then synced", "pending", "removing", "retried", "started", "synced"}},
		"failed":     {ResyncOptions{FailedOnly: true}, []string{"failed", "retried"}},
		"by ones":    {ResyncOptions{PageSize: 1}, []string{"failed", "failed, then synced", "pending", "removing", "retried", "started", "synced"}},
		"by halves":  {ResyncOptions{PageSize: 4}, []string{"failed", "failed, then synced", "pending", "removing", "retried", "started", "synced"}},
		"failed, by": {ResyncOptions{PageSize: 3, FailedOnly: true}, []string{"failed", "retried"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := resyncBundle(t)
			counted, err := CountResync(t.Context(), b.pool, kind, test.opts.FailedOnly)
			if err != nil || counted != int64(len(test.want)) {
				t.Errorf("counted %d: %v", counted, err)
			}
			var asked []Job
			test.opts.Asked = func(page []Job) error { asked = append(asked, page...); return nil }
			var progress []int
			test.opts.Progress = func(n int) { progress = append(progress, n) }
			done, err := ResyncKind(t.Context(), b.pool, b.queue, kind, test.opts)
			if want := (Resynced{Raised: len(test.want)}); err != nil || done != want {
				t.Errorf("got %+v: %v", done, err)
			}
			var got []string
			for i, j := range b.takeJobs(t) {
				if len(asked) <= i || asked[i].Token != j.Token || asked[i].Urgency != Bulk {
					t.Errorf("said that it has asked for %v", asked)
				}
				got = append(got, j.ResourceID)
				row := b.row(t, j.ResourceID)
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
			if n, err := ResyncKind(t.Context(), b.pool, b.queue, "unknown", test.opts); n != (Resynced{}) || err != nil {
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
		b.exec(t, "SELECT casq.define_kind($1, 'none')", k)
		b.exec(t, "INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload) VALUES ($1, 'x', 1, $2, 1, '{}')", k, i)
	}
	n, err := ResyncKind(t.Context(), b.pool, b.queue, kind, ResyncOptions{PageSize: 2})
	if err != nil || n.Raised != 1 {
		t.Fatal(n, err)
	}
	if jobs := b.takeJobs(t); len(jobs) != 1 || jobs[0].Kind != kind {
		t.Errorf("got %v", jobs)
	}
}

// A resync in the middle of a run: the run's copy counts as what it is, and the
// newer version's job follows.
func TestResyncDuringARun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.registry(t)
	c := claim(t, r, b.create(t, 1, "x"))
	for i := range 3 {
		if _, err := ResyncKind(t.Context(), b.pool, b.queue, kind, ResyncOptions{}); err != nil {
			t.Fatal(err)
		}
		jobs := b.takeJobs(t)
		if len(jobs) != 1 {
			t.Fatal(fmt.Sprint("turn ", i), jobs)
		}
		if _, err := r.Claim(t.Context(), jobs[0].Token, 8); !errors.Is(err, ErrHandedOver) {
			t.Fatal(err)
		}
	}
	if err := r.Publish(c, Result{}, nil); err != nil {
		t.Fatal(err)
	}
	got := b.row(t, "x")
	b.wantJobs(t, jobFor("x", got.Version, false))
	if got.Status != "pending" || !is(got.Synced, c.Version) {
		t.Errorf("got %+v", got)
	}
}
