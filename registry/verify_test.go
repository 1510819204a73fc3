package registry

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// checks remembers what verifications were committed: its jobs are rows.
type checks struct{ *tableQueue }

func (c checks) InsertChecks(ctx context.Context, tx pgx.Tx, tokens []Token) error {
	jobs := make([]Job, len(tokens))
	for i, t := range tokens {
		jobs[i].Token = t
	}
	return c.Insert(ctx, tx, jobs, false)
}

// synced makes a resource whose first version is in place.
func (b *testBundle) synced(t *testing.T, r *Registry, id int64, key string) Token {
	t.Helper()
	token := b.create(t, id, key)
	if err := r.Publish(claim(t, r, token), Result{Checksum: "sum of " + key, Size: 3}, nil); err != nil {
		t.Fatal(err)
	}
	return token
}

func TestAVerificationEndsUnderItsToken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.registry(t)
	token := b.synced(t, r, 1, "x")
	b.exec(t, "UPDATE casq.registry SET verified_at = '2000-01-01'")
	old := func() (is bool) {
		t.Helper()
		if err := b.pool.QueryRow(t.Context(), "SELECT verified_at < '2001-01-01' FROM casq.registry").Scan(&is); err != nil {
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
	b.exec(t, "UPDATE casq.registry SET verified_at = '2000-01-01'")
	newer := b.update(t, 2, "x")
	late := func() {
		t.Helper()
		if _, err := r.InPlace(t.Context(), token); !errors.Is(err, ErrSuperseded) {
			t.Errorf("look: %v", err)
		}
		if err := r.Verified(t.Context(), token, time.Now()); !errors.Is(err, ErrSuperseded) {
			t.Errorf("success: %v", err)
		}
		if _, err := r.Repair(t.Context(), token, false); !errors.Is(err, ErrSuperseded) {
			t.Errorf("mismatch: %v", err)
		}
		b.wantJobs(t)
		if got := b.row(t, "x"); got.Version != newer.Version {
			t.Errorf("got %+v", got)
		}
	}
	late()
	if !old() {
		t.Error("success reached the newer version")
	}
	if _, err := r.InPlace(t.Context(), newer); !errors.Is(err, ErrNotInPlace) {
		t.Errorf("look at what is not there yet: %v", err)
	}
	if _, err := r.Repair(t.Context(), newer, false); !errors.Is(err, ErrSuperseded) {
		t.Errorf("repair of what is not there yet: %v", err)
	}
	if err := r.Publish(claim(t, r, newer), Result{}, nil); err != nil {
		t.Fatal(err)
	}
	late()
}

func TestARepairIsANewVersionOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.registry(t)
	token := b.synced(t, r, 1, "x")
	version, err := r.Repair(t.Context(), token, false)
	if err != nil || version <= token.Version {
		t.Fatal(version, err)
	}
	// Its answer was lost.
	if _, err := r.Repair(t.Context(), token, false); !errors.Is(err, ErrSuperseded) {
		t.Errorf("said twice: %v", err)
	}
	b.wantJobs(t, jobFor("x", version, false))
	if got := b.row(t, "x"); got.Status != "pending" || got.Version != version || !is(got.Synced, token.Version) {
		t.Errorf("got %+v", got)
	}
}

// What an update would not mend is copied afresh, also by a version that comes
// before the repair has been carried out; and only a whole copy says that it was
// compared.
func TestARepairOfDamageIsFresh(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.registry(t)
	token := b.synced(t, r, 1, "x")
	b.exec(t, "UPDATE casq.registry SET verified_at = '2000-01-01'")
	compared := func() (is bool) {
		t.Helper()
		if err := b.pool.QueryRow(t.Context(), "SELECT verified_at > '2000-01-01' FROM casq.registry").Scan(&is); err != nil {
			t.Fatal(err)
		}
		return is
	}
	if _, err := r.Repair(t.Context(), token, true); err != nil {
		t.Fatal(err)
	}
	b.takeJobs(t)
	for _, step := range []struct {
		id             int64
		fresh, partial bool
	}{{2, true, false}, {3, false, true}} {
		c := claim(t, r, b.update(t, step.id, "x"))
		if c.Fresh != step.fresh || c.First {
			t.Errorf("event %d: got %+v", step.id, c)
		}
		if err := r.Publish(c, Result{Partial: step.partial}, nil); err != nil {
			t.Fatal(err)
		}
		if compared() == step.partial {
			t.Errorf("event %d: compared is %v", step.id, compared())
		}
		b.exec(t, "UPDATE casq.registry SET verified_at = '2000-01-01'")
	}
}

func TestVerifyOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.registry(t)
	token := b.synced(t, r, 1, "x")
	version, err := VerifyOne(t.Context(), b.pool, checks{b.queue}, kind, "x")
	if err != nil || version != token.Version {
		t.Fatal(version, err)
	}
	b.wantJobs(t, jobFor("x", version, false))
	b.create(t, 2, "pending")
	for key, want := range map[string]error{"pending": ErrNotInPlace, "nobody": ErrNoRow} {
		if _, err := VerifyOne(t.Context(), b.pool, checks{b.queue}, kind, key); !errors.Is(err, want) {
			t.Errorf("%s: %v", key, err)
		}
	}
	b.wantJobs(t)
}

func TestVerifyKind(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		opts VerifyOptions
		want []string
		jobs bool
	}{
		"all":        {VerifyOptions{}, []string{"failed, then synced", "old", "synced"}, true},
		"pages":      {VerifyOptions{PageSize: 1}, []string{"failed, then synced", "old", "synced"}, true},
		"older than": {VerifyOptions{OlderThan: time.Hour, PageSize: 2}, []string{"old"}, true},
		"dry run":    {VerifyOptions{DryRun: true}, []string{"failed, then synced", "old", "synced"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := resyncBundle(t)
			b.synced(t, b.registry(t), 1000, "old")
			b.exec(t, "UPDATE casq.registry SET verified_at = verified_at - interval '2 hours' WHERE resource_id = 'old'")
			b.takeJobs(t)
			calls := 0
			test.opts.Progress = func(int) { calls++ }
			asked, err := VerifyKind(t.Context(), b.pool, checks{b.queue}, kind, test.opts)
			if err != nil || asked != len(test.want) || calls == 0 {
				t.Fatalf("asked for %d, %d pages, %v", asked, calls, err)
			}
			var got []string
			for _, j := range b.takeJobs(t) {
				got = append(got, j.ResourceID)
				if row := b.row(t, j.ResourceID); row.Version != j.Version {
					t.Errorf("%s: asked for version %d of %+v", j.ResourceID, j.Version, row)
				}
			}
			if test.jobs && !slices.Equal(got, test.want) || !test.jobs && len(got) > 0 {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
