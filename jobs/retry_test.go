package jobs

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"casq/eventlog"
	"casq/registry"
	"casq/transfer"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

func TestBackOff(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		attempt int
		limit   time.Duration
		want    time.Duration
	}{
		{1, maxRetry, time.Second}, {2, maxRetry, 16 * time.Second}, {25, maxRetry, maxRetry},
		{1, maxMissing, time.Second}, {5, maxMissing, 625 * time.Second}, {6, maxMissing, maxMissing}, {1_000_000, maxMissing, maxMissing},
	} {
		for id := range int64(50) {
			got := backOff(test.attempt, test.limit, &rivertype.JobRow{ID: id})
			if ratio := float64(got) / float64(test.want); ratio < 0.9 || ratio > 1.1 {
				t.Errorf("attempt %d: %s, want about %s", test.attempt, got, test.want)
			}
		}
	}
}

// What the source does not have is looked for ever more rarely, without end; the
// row tells since when, and River sleeps until the time that the row tells. A new
// event begins anew, and any other failure is no missing resource.
func TestMissingAtTheSource(t *testing.T) {
	t.Parallel()
	m := &mover{}
	b := setupWork(t, m)
	missing := func(context.Context) error { return transfer.ErrMissing }
	m.copy = missing
	var warned bytes.Buffer
	b.worker.cfg.Logger = slog.New(slog.NewTextHandler(&warned, &slog.HandlerOptions{Level: slog.LevelWarn}))
	since := func() (at *time.Time, retry *time.Time, status string) {
		t.Helper()
		err := b.pool.QueryRow(t.Context(), "SELECT missing_since, retry_at, status FROM casq.registry_status").Scan(&at, &retry, &status)
		if err != nil {
			t.Fatal(err)
		}
		return at, retry, status
	}
	var first time.Time
	for attempt := range 30 { // River would have given up after 25
		snooze, ok := errors.AsType[*rivertype.JobSnoozeError](b.work(t.Context(), 1))
		at, retry, status := since()
		if !ok || at == nil || status != "failed" || retry == nil {
			t.Fatalf("attempt %d: %v, missing since %v, %s, next %v", attempt, snooze, at, status, retry)
		}
		if wait := time.Until(*retry); wait > maxMissing*11/10 || snooze.Duration < wait-time.Second || snooze.Duration > wait+20*time.Second {
			t.Errorf("attempt %d: the row waits %s, River %s", attempt, wait, snooze.Duration)
		}
		if attempt == 0 {
			first = *at
		}
		if !at.Equal(first) {
			t.Errorf("attempt %d: missing since %s, want %s", attempt, at, first)
		}
	}
	if n := strings.Count(warned.String(), "run failed"); n != 1 || b.worker.Stats.Of(Missing) != 30 {
		t.Errorf("%d attempts are told in %d warnings, want one:\n%s", b.worker.Stats.Of(Missing), n, warned.String())
	}
	m.copy = func(context.Context) error { return errors.New("disk full") }
	if err := b.work(t.Context(), 1); errors.Is(err, river.JobSnooze(0)) {
		t.Error(err)
	}
	if at, _, status := since(); at != nil || status != "failed" {
		t.Errorf("another failure: missing since %v, %s", at, status)
	}
	m.copy = missing
	b.token = b.event(t, 2, eventlog.Updated)
	if at, retry, status := since(); at != nil || retry != nil || status != "pending" {
		t.Errorf("a new event: missing since %v, next %v, %s", at, retry, status)
	}
	_ = b.work(t.Context(), 1)
	if at, retry, _ := since(); at == nil || !at.After(first) || time.Until(*retry) > 2*time.Second {
		t.Errorf("the new event's version: missing since %v, next %v", at, retry)
	}
	m.copy = nil
	if err := b.work(t.Context(), 1); err != nil {
		t.Error(err)
	}
	if at, retry, status := since(); at != nil || retry != nil || status != "synced" {
		t.Errorf("it came: missing since %v, next %v, %s", at, retry, status)
	}
}

// Where it is no failure, it is looked for, and told as absent; what is in place, and is
// missed, has failed all the same. It comes with an event, or when it is looked at again.
func TestAbsentAtTheSource(t *testing.T) {
	t.Parallel()
	m := &mover{}
	b := setupWork(t, m)
	if _, err := registry.SetKind(t.Context(), b.pool, b.token.Kind, registry.KindOptions{Missing: new(eventlog.MissingAbsent)}); err != nil {
		t.Fatal(err)
	}
	missing := func(context.Context) error { return transfer.ErrMissing }
	m.copy = missing
	var told bytes.Buffer
	b.worker.cfg.Logger = slog.New(slog.NewTextHandler(&told, nil))
	state := func() (s string) {
		t.Helper()
		err := b.pool.QueryRow(t.Context(), `SELECT concat_ws(' ', status, missing_since IS NOT NULL AND retry_at > now(), (SELECT sum(count) FROM casq.registry_failures),
			(SELECT resources FROM casq.at_risk WHERE kind = s.kind), (SELECT ok FROM casq.problems_of_registry() AS p, LATERAL (SELECT false AS ok) AS o)) FROM casq.registry_status AS s`).Scan(&s)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	var why string
	for attempt := range 30 {
		snooze, ok := errors.AsType[*rivertype.JobSnoozeError](b.work(t.Context(), 1))
		if got := state(); !ok || snooze.Duration > maxAbsent*11/10 || got != "absent t 0" {
			t.Fatalf("attempt %d: %v, %s", attempt, snooze, got)
		}
	}
	if err := b.pool.QueryRow(t.Context(), "SELECT casq.why(kind, resource_id) FROM casq.registry").Scan(&why); err != nil ||
		!strings.Contains(why, " is absent: ") || !strings.Contains(why, "no failure of its kind; it is looked at again at ") {
		t.Error(why, err)
	}
	if told.Len() > 0 || b.worker.Stats.Of(Absent) != 30 || b.worker.Stats.Of(Failed)+b.worker.Stats.Of(Missing) != 0 {
		t.Errorf("told: %s; %v", told.String(), b.worker.Stats.Counts())
	}
	m.copy = nil
	if err := b.work(t.Context(), 1); err != nil || state() != "synced f 0" {
		t.Errorf("it came: %v, %s", err, state())
	}
	m.copy = missing
	b.token = b.event(t, 2, eventlog.Updated)
	_ = b.work(t.Context(), 1)
	if got := state(); !strings.HasPrefix(got, "failed t 1 1 f") {
		t.Errorf("what was in place is missed: %s", got)
	}
	b.token = b.event(t, 3, eventlog.Deleted)
	if err := b.work(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	b.token = b.event(t, 4, eventlog.Created)
	_ = b.work(t.Context(), 1)
	if got := state(); !strings.HasPrefix(got, "absent t") {
		t.Errorf("what came again with nothing, after what was in place is removed: %s", got)
	}
}

// Another panic than that of a run, on its way to River.
func TestAPanicOutsideOfARun(t *testing.T) {
	t.Parallel()
	b := setupWork(t, &mover{})
	b.worker.cfg.Hook = func(point string) {
		if point == "work:fetched" {
			panic("\x00")
		}
	}
	err := (&runner[SyncArgs]{w: b.worker}).Work(t.Context(), &river.Job[SyncArgs]{
		JobRow: &rivertype.JobRow{ID: 5, Attempt: 1, MaxAttempts: 25},
		Args:   SyncArgs{ResourceKind: b.token.Kind, ResourceID: b.token.ResourceID, Version: b.token.Version},
	})
	if err == nil || err.Error() != "the run panicked: ?" {
		t.Errorf("River is told %v", err)
	}
}

// A folder that is not there uses up no attempt, and is looked for soon.
func TestAFolderThatIsElsewhere(t *testing.T) {
	t.Parallel()
	m := &mover{copy: func(context.Context) error { return transfer.ErrElsewhere }}
	b := setupWork(t, m)
	for attempt := range 30 {
		snooze, ok := errors.AsType[*rivertype.JobSnoozeError](b.work(t.Context(), 1))
		if !ok || snooze.Duration > maxElsewhere*11/10 {
			t.Fatalf("attempt %d: %v", attempt, snooze)
		}
	}
}

// What is larger than its kind may be is refused for good.
func TestAResourceOverItsLimit(t *testing.T) {
	t.Parallel()
	m := &mover{copy: func(context.Context) error { return transfer.ErrTooLarge }}
	b := setupWork(t, m)
	err := b.work(t.Context(), 1)
	if _, cancels := errors.AsType[*rivertype.JobCancelError](err); !cancels || !errors.Is(err, transfer.ErrTooLarge) {
		t.Error(err)
	}
}
