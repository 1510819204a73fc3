package riverreplica_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/replica"
	"casq/replica/riverreplica"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// wait replays everything on the standby, which may be paused again afterwards.
func (s *site) wait(t *testing.T) {
	t.Helper()
	must(t, s.Cluster.Standbys[0].WaitReplayed(t.Context(), s.Cluster.Primary))
}

func (s *site) exec(t *testing.T, sql string) {
	t.Helper()
	_, err := s.Primary.Exec(t.Context(), sql)
	must(t, err)
}

// TestAJobReadsWhatItsTransactionWrote, although the standby does not have it.
func TestAJobReadsWhatItsTransactionWrote(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t, riverreplica.Sticky{})
	s.Pause(t)
	s.start(t)
	for range 5 {
		s.change(t, args{})
	}
	for range 5 {
		if got := s.ran(t); got.body != "new" || got.choice.Reason != replica.NoneCaughtUp {
			t.Errorf("read %q by %s", got.body, got.choice)
		}
	}
	s.Resume(t)
}

func TestAlwaysIsThePrimary(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t, riverreplica.Always{})
	s.start(t)
	s.change(t, args{})
	if got := s.ran(t); got.body != "new" || got.choice.Reason != replica.Pinned {
		t.Errorf("read %q by %s", got.body, got.choice)
	}
}

// TestDelayedTakesThePrimaryInTheEnd, after one snooze, which costs no attempt.
func TestDelayedTakesThePrimaryInTheEnd(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t, riverreplica.Delayed{Wait: time.Millisecond, Snooze: time.Millisecond})
	s.Pause(t)
	s.start(t)
	s.change(t, args{})
	got := s.ran(t)
	if got.body != "new" || got.choice.Reason.Standby() || got.job.Attempt != 1 {
		t.Errorf("attempt %d read %q by %s", got.job.Attempt, got.body, got.choice)
	}
	var metadata struct{ Snoozes int }
	if err := json.Unmarshal(got.job.Metadata, &metadata); err != nil || metadata.Snoozes != 1 {
		t.Errorf("snoozed %d times (%v), want once: %s", metadata.Snoozes, err, got.job.Metadata)
	}
	s.Resume(t)
}

// TestDelayedComesBackToTheStandby, which has by then what the job needs, but not
// what the primary has written since.
func TestDelayedComesBackToTheStandby(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t, riverreplica.Delayed{Wait: time.Millisecond, Snooze: 2 * time.Second})
	s.Pause(t)
	s.start(t)
	s.change(t, args{})
	if event := s.event(t); event.Kind != river.EventKindJobSnoozed {
		t.Fatalf("%s: %v", event.Kind, event.Job.Errors)
	}
	s.Resume(t)
	s.wait(t)
	s.Pause(t)
	s.exec(t, "UPDATE documents SET body = 'newer'")
	if got := s.ran(t); got.body != "new" || !got.choice.Reason.Standby() {
		t.Errorf("read %q by %s, want the standby", got.body, got.choice)
	}
	s.Resume(t)
}

// TestAnotherAttemptReadsWhatTheOneBeforeWrote: the position of the first fetch, which
// stands in the metadata, is not for it.
func TestAnotherAttemptReadsWhatTheOneBeforeWrote(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t, riverreplica.Delayed{Wait: time.Millisecond, Snooze: time.Millisecond})
	s.Pause(t)
	s.start(t)
	s.change(t, args{Fail: 1})
	if got := s.ran(t); got.body != "by the first attempt" || got.job.Attempt != 2 {
		t.Errorf("attempt %d read %q by %s", got.job.Attempt, got.body, got.choice)
	}
	s.Resume(t)
}

// TestAWorkersOwnSnoozeIsAnotherFetch, although its attempt is the same: what the run
// before it wrote is not on the standby.
func TestAWorkersOwnSnoozeIsAnotherFetch(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t, riverreplica.Delayed{Wait: time.Millisecond, Snooze: 2 * time.Second})
	s.Pause(t)
	s.start(t)
	s.change(t, args{Snooze: true})
	s.event(t)
	s.Resume(t)
	s.wait(t)
	s.Pause(t)
	if got := s.ran(t); got.body != "by the first run" {
		t.Errorf("attempt %d read %q by %s", got.job.Attempt, got.body, got.choice)
	}
	s.Resume(t)
}

// TestARunThatDiedIsNotResumed: its metadata say what they did before it, and its
// attempt is another.
func TestARunThatDiedIsNotResumed(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t, nil)
	before, err := s.db.Present(t.Context())
	must(t, err)
	s.exec(t, "UPDATE documents SET body = 'by the run that died'")
	s.wait(t)
	metadata, err := json.Marshal(map[string]any{"casq_replica": map[string]any{"at": before.Token(), "attempt": 1}})
	must(t, err)
	m := &riverreplica.Middleware{DB: s.db}
	err = m.Work(t.Context(), &rivertype.JobRow{Attempt: 2, Metadata: metadata}, func(ctx context.Context) error {
		var n int
		must(t, s.db.QueryRow(ctx, "SELECT 1").Scan(&n))
		if choices := replica.FromContext(ctx).Choices(); choices[0].Need.Compare(before) <= 0 {
			t.Errorf("it needs no more than the run that died: %s", choices[0])
		}
		return nil
	})
	must(t, err)
}

// TestTheSessionsTokenTravels with the job, beside what was in its metadata.
func TestTheSessionsTokenTravels(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t, nil)
	session := s.db.Session()
	ctx := replica.NewContext(t.Context(), session)
	must(t, session.Wrote(ctx))
	inserted, err := s.client.Insert(ctx, args{}, &river.InsertOpts{Metadata: []byte(`{"mine": 1}`)})
	must(t, err)
	var metadata struct {
		Mine int
		Note struct{ Token string } `json:"casq_replica"`
	}
	must(t, json.Unmarshal(inserted.Job.Metadata, &metadata))
	if metadata.Mine != 1 || metadata.Note.Token != session.Token(ctx) {
		t.Errorf("metadata %s, the session's token is %s", inserted.Job.Metadata, session.Token(ctx))
	}
}

func TestGarbageInMetadataFailsNoJob(t *testing.T) {
	long.Test(t)
	t.Parallel()
	s := newSite(t, riverreplica.Delayed{})
	s.start(t)
	for _, metadata := range []string{`{"casq_replica": 5}`, `{"casq_replica": {"token": "garbage", "at": "x", "attempt": 1}}`, `{"casq_replica": {"attempt": "x"}}`} {
		_, err := s.client.Insert(t.Context(), args{}, &river.InsertOpts{Metadata: []byte(metadata)})
		must(t, err)
		if got := s.ran(t); got.body != "old" || len(got.job.Errors) > 0 {
			t.Errorf("%s: read %q, errors %v", metadata, got.body, got.job.Errors)
		}
	}
}
