package registry_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"casq/internal/testing/registrytest"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// checks remembers what verifications were committed: its jobs are rows.
type checks struct{ *registrytest.Queue }

func (c checks) InsertChecks(ctx context.Context, tx pgx.Tx, tokens []registry.Token) error {
	jobs := make([]registry.Job, len(tokens))
	for i, t := range tokens {
		jobs[i].Token = t
	}
	return c.Insert(ctx, tx, jobs, false)
}

// synced makes a resource whose first version is in place.
func (b *testBundle) synced(t *testing.T, r *registry.Registry, id int64, key string) registry.Token {
	t.Helper()
	token := b.Create(t, id, key)
	if err := r.Publish(claim(t, r, token), registry.Result{Checksum: "sum of " + key, Size: 3}, nil); err != nil {
		t.Fatal(err)
	}
	return token
}

func TestAVerificationEndsUnderItsToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	token := b.synced(t, r, 1, "x")
	b.Exec(t, "UPDATE casq.registry SET verified_at = '2000-01-01'")
	old := func() (is bool) {
		t.Helper()
		if err := b.Pool.QueryRow(t.Context(), "SELECT verified_at < '2001-01-01' FROM casq.registry").Scan(&is); err != nil {
			t.Fatal(err)
		}
		return is
	}
	want, err := r.InPlace(t.Context(), token)
	if err != nil || want.Checksum != "sum of x" || want.Removed || len(want.Payload) == 0 {
		t.Fatalf("got %+v, %v", want, err)
	}
	if err := r.Verified(t.Context(), token, time.Now()); err != nil || old() {
		t.Errorf("verified_at was not written: %v", err)
	}

	// A newer version, before and after it is in place.
	b.Exec(t, "UPDATE casq.registry SET verified_at = '2000-01-01'")
	newer := b.Update(t, 2, "x")
	late := func() {
		t.Helper()
		if _, err := r.InPlace(t.Context(), token); !errors.Is(err, registry.ErrSuperseded) {
			t.Errorf("look: %v", err)
		}
		if err := r.Verified(t.Context(), token, time.Now()); !errors.Is(err, registry.ErrSuperseded) {
			t.Errorf("success: %v", err)
		}
		if _, err := r.Repair(t.Context(), token, false); !errors.Is(err, registry.ErrSuperseded) {
			t.Errorf("mismatch: %v", err)
		}
		b.WantJobs(t)
		if got := b.Row(t, "x"); got.Version != newer.Version {
			t.Errorf("got %+v", got)
		}
	}
	late()
	if !old() {
		t.Error("success reached the newer version")
	}
	if _, err := r.InPlace(t.Context(), newer); !errors.Is(err, registry.ErrNotInPlace) {
		t.Errorf("look at what is not there yet: %v", err)
	}
	if _, err := r.Repair(t.Context(), newer, false); !errors.Is(err, registry.ErrSuperseded) {
		t.Errorf("repair of what is not there yet: %v", err)
	}
	if err := r.Publish(claim(t, r, newer), registry.Result{}, nil); err != nil {
		t.Fatal(err)
	}
	late()
}

func TestARepairIsANewVersionOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	token := b.synced(t, r, 1, "x")
	version, err := r.Repair(t.Context(), token, false)
	if err != nil || version <= token.Version {
		t.Fatal(version, err)
	}
	// Its answer was lost.
	if _, err := r.Repair(t.Context(), token, false); !errors.Is(err, registry.ErrSuperseded) {
		t.Errorf("said twice: %v", err)
	}
	b.WantJobs(t, jobFor("x", version, false))
	if got := b.Row(t, "x"); got.Status != "pending" || got.Version != version || !is(got.Synced, token.Version) {
		t.Errorf("got %+v", got)
	}
}

// What an update would not mend is copied afresh, also by a version that comes
// before the repair has been carried out; and only a whole copy says that it was
// compared.
func TestARepairOfDamageIsFresh(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	token := b.synced(t, r, 1, "x")
	b.Exec(t, "UPDATE casq.registry SET verified_at = '2000-01-01'")
	compared := func() (is bool) {
		t.Helper()
		if err := b.Pool.QueryRow(t.Context(), "SELECT verified_at > '2000-01-01' FROM casq.registry").Scan(&is); err != nil {
			t.Fatal(err)
		}
		return is
	}
	if _, err := r.Repair(t.Context(), token, true); err != nil {
		t.Fatal(err)
	}
	b.TakeJobs(t)
	for _, step := range []struct {
		id             int64
		fresh, partial bool
	}{{2, true, false}, {3, false, true}} {
		c := claim(t, r, b.Update(t, step.id, "x"))
		if c.Fresh != step.fresh || c.First {
			t.Errorf("event %d: got %+v", step.id, c)
		}
		if err := r.Publish(c, registry.Result{Partial: step.partial}, nil); err != nil {
			t.Fatal(err)
		}
		if compared() == step.partial {
			t.Errorf("event %d: compared is %v", step.id, compared())
		}
		b.Exec(t, "UPDATE casq.registry SET verified_at = '2000-01-01'")
	}
}

func TestVerifyOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	token := b.synced(t, r, 1, "x")
	version, err := registry.VerifyOne(t.Context(), b.Pool, checks{b.Queue}, kind, "x")
	if err != nil || version != token.Version {
		t.Fatal(version, err)
	}
	b.WantJobs(t, jobFor("x", version, false))
	b.Create(t, 2, "pending")
	for key, want := range map[string]error{"pending": registry.ErrNotInPlace, "nobody": registry.ErrNoRow} {
		if _, err := registry.VerifyOne(t.Context(), b.Pool, checks{b.Queue}, kind, key); !errors.Is(err, want) {
			t.Errorf("%s: %v", key, err)
		}
	}
	b.WantJobs(t)
}

func TestVerifyKind(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		opts registry.VerifyOptions
		want []string
		jobs bool
	}{
		"all":        {registry.VerifyOptions{}, []string{"failed, then synced", "old", "synced"}, true},
		"pages":      {registry.VerifyOptions{PageSize: 1}, []string{"failed, then synced", "old", "synced"}, true},
		"older than": {registry.VerifyOptions{OlderThan: time.Hour, PageSize: 2}, []string{"old"}, true},
		"dry run":    {registry.VerifyOptions{DryRun: true}, []string{"failed, then synced", "old", "synced"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := resyncBundle(t)
			b.synced(t, b.Registry(t), 1000, "old")
			b.Exec(t, "UPDATE casq.registry SET verified_at = verified_at - interval '2 hours' WHERE resource_id = 'old'")
			b.TakeJobs(t)
			calls := 0
			test.opts.Progress = func(int) { calls++ }
			asked, err := registry.VerifyKind(t.Context(), b.Pool, checks{b.Queue}, kind, test.opts)
			if err != nil || asked != len(test.want) || calls == 0 {
				t.Fatalf("asked for %d, %d pages, %v", asked, calls, err)
			}
			var got []string
			for _, j := range b.TakeJobs(t) {
				got = append(got, j.ResourceID)
				if row := b.Row(t, j.ResourceID); row.Version != j.Version {
					t.Errorf("%s: asked for version %d of %+v", j.ResourceID, j.Version, row)
				}
			}
			if test.jobs && !slices.Equal(got, test.want) || !test.jobs && len(got) > 0 {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
