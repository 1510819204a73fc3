package jobs

import (
	"context"
	"errors"
	"testing"
	"time"

	"casq/eventlog"
	"casq/registry"
	"casq/transfer"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

var _ registry.Checks = (*Queue)(nil)

func TestInsertChecks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	insert := func(tokens ...registry.Token) error {
		return pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
			return b.queue.InsertChecks(t.Context(), tx, tokens)
		})
	}
	if err := errors.Join(insert(), insert(registry.Token{Kind: "resource", ResourceID: "a", Version: 7}, registry.Token{Kind: "fact", ResourceID: "b", Version: 8})); err != nil {
		t.Fatal(err)
	}
	// A kind without bytes has nothing to compare.
	jobs := b.riverJobs(t)
	if len(jobs) != 1 || jobs[0].Kind != "casq_verify" || jobs[0].Queue != "casq_verify_file" || jobs[0].State != "available" || jobs[0].Args != (SyncArgs{"resource", "a", 7}) {
		t.Errorf("got %+v", jobs)
	}
	if err := insert(registry.Token{Kind: "other"}); !errors.Is(err, eventlog.ErrUnknownKind) {
		t.Errorf("unknown kind: %v", err)
	}
}

// verify is one run of the resource's verification.
func (b *workBundle) verify(ctx context.Context, args VerifyArgs) error {
	return (&verifier{w: b.worker}).Work(ctx, &river.Job[VerifyArgs]{
		JobRow: &rivertype.JobRow{ID: 6, Attempt: 1, MaxAttempts: verifyAttempts, CreatedAt: time.Now()}, Args: args,
	})
}

func TestEveryEndOfAVerification(t *testing.T) {
	t.Parallel()
	disk := errors.New("disk")
	removed := func(t *testing.T, b *workBundle) {
		b.token = b.event(t, 2, eventlog.Deleted)
		if err := b.work(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	updated := func(t *testing.T, b *workBundle) { b.event(t, 2, eventlog.Updated) }
	for name, test := range map[string]struct {
		found     error
		change    func(t *testing.T, b *workBundle)
		contested bool
		err       error // for River
		read      bool
		repaired  bool
		fresh     bool
	}{
		"as it should be":         {read: true},
		"differs":                 {found: transfer.ErrMismatch, read: true, repaired: true},
		"is damaged":              {found: errors.Join(transfer.ErrMismatch, transfer.ErrDamaged), read: true, repaired: true, fresh: true},
		"source lacks it":         {found: transfer.ErrMissing, read: true, err: river.JobCancel(nil)},
		"bad payload":             {found: transfer.ErrBadPayload, read: true, err: river.JobCancel(nil)},
		"cannot be read":          {found: disk, read: true, err: disk},
		"target is elsewhere":     {found: transfer.ErrElsewhere, read: true, err: &rivertype.JobSnoozeError{}},
		"another version":         {found: transfer.ErrMismatch, change: updated},
		"removed":                 {found: transfer.ErrMismatch, change: removed},
		"removed, from a folder":  {found: transfer.ErrMismatch, change: removed, contested: true},
		"contested":               {found: transfer.ErrMismatch, contested: true, read: true, repaired: true},
		"contested, not in place": {found: transfer.ErrMismatch, contested: true, change: func(t *testing.T, b *workBundle) { b.token = b.event(t, 2, eventlog.Updated) }, err: &rivertype.JobSnoozeError{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, read := &mover{}, false
			m.verify = func(context.Context) error { read = true; return test.found }
			b := setupWork(t, m)
			if err := b.work(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			args := VerifyArgs{b.token.Kind, b.token.ResourceID, b.token.Version, test.contested}
			if test.change != nil {
				test.change(t, b)
				if name != "another version" {
					args.Version = b.token.Version
				}
			}
			before, incarnation := b.version(t), b.incarnation(t)
			err := b.verify(t.Context(), args)
			if (err == nil) != (test.err == nil) || !errors.Is(err, test.err) {
				t.Errorf("River is told %v, want %v", err, test.err)
			}
			if snooze, ok := errors.AsType[*rivertype.JobSnoozeError](err); ok && (snooze.Duration < time.Second || snooze.Duration > maxElsewhere) {
				t.Errorf("it sleeps for %v", snooze.Duration)
			}
			if read != test.read {
				t.Errorf("read: %v", read)
			}
			if repaired := b.version(t) != before; repaired != test.repaired {
				t.Errorf("a new version: %v", repaired)
			}
			if fresh := b.incarnation(t) > incarnation; fresh != test.fresh {
				t.Errorf("a fresh copy: %v", fresh)
			}
			if test.repaired && b.state(t).jobs != 1 {
				t.Errorf("the new version has no job")
			}
		})
	}
}

// Asked for again before its turn has come, a resource is read once, if that was
// after all of the asking.
func TestWhatWasReadSinceItWasAskedForIsNotReadAgain(t *testing.T) {
	t.Parallel()
	m, reads := &mover{}, 0
	b := setupWork(t, m)
	if err := b.work(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	args := VerifyArgs{b.token.Kind, b.token.ResourceID, b.token.Version, false}
	asked, contested := &rivertype.JobRow{CreatedAt: time.Now()}, args
	contested.Contested = true
	m.verify = func(context.Context) error { reads++; return nil }
	for _, step := range []struct {
		name  string
		args  VerifyArgs
		reads int
	}{{"first", args, 1}, {"again", args, 1}, {"contested", contested, 2}} {
		job := &river.Job[VerifyArgs]{JobRow: asked, Args: step.args}
		if err := (&verifier{w: b.worker}).Work(t.Context(), job); err != nil || reads != step.reads {
			t.Errorf("%s: read %d times, want %d; %v", step.name, reads, step.reads, err)
		}
	}
}

// What is asked for while it is read is read again.
func TestWhatIsAskedForWhileItIsReadIsReadAgain(t *testing.T) {
	t.Parallel()
	m, reads := &mover{}, 0
	b := setupWork(t, m)
	if err := b.work(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	args := VerifyArgs{b.token.Kind, b.token.ResourceID, b.token.Version, false}
	later := time.Time{}
	m.verify = func(context.Context) error {
		reads++
		later = time.Now()
		return nil
	}
	for _, created := range []*time.Time{new(time.Now()), &later} {
		job := &river.Job[VerifyArgs]{JobRow: &rivertype.JobRow{CreatedAt: *created}, Args: args}
		if err := (&verifier{w: b.worker}).Work(t.Context(), job); err != nil {
			t.Fatal(err)
		}
	}
	if reads != 2 {
		t.Errorf("read %d times, want twice", reads)
	}
}

func (b *workBundle) incarnation(t *testing.T) (incarnation int64) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), "SELECT incarnation FROM casq.registry").Scan(&incarnation); err != nil {
		t.Fatal(err)
	}
	return incarnation
}

func (b *workBundle) version(t *testing.T) (version int64) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), "SELECT version FROM casq.registry").Scan(&version); err != nil {
		t.Fatal(err)
	}
	return version
}

// A worker that stops takes no attempt from a verification that it ends.
func TestAnInterruptedVerificationIsPutBack(t *testing.T) {
	t.Parallel()
	m := &mover{}
	b := setupWork(t, m)
	if err := b.work(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	m.verify = func(ctx context.Context) error {
		close(b.stopping)
		cancel()
		return context.Cause(ctx)
	}
	err := b.verify(ctx, VerifyArgs{b.token.Kind, b.token.ResourceID, b.token.Version, false})
	if snooze, ok := errors.AsType[*rivertype.JobSnoozeError](err); !ok || snooze.Duration != 0 {
		t.Errorf("River is told %v", err)
	}
}
