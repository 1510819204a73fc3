package reconcile

import (
	"errors"
	"strings"
	"testing"

	"casq/internal/testing/long"
)

// deadLetter dead-letters an event of each key, as the registry's cursor does.
func (b *refetchBundle) deadLetter(t *testing.T, kind string, keys ...string) {
	t.Helper()
	b.Exec(t, `INSERT INTO casq.event_failures (cursor, timeline, event_id, tick, kind, resource_id, op, occurred_at, reason, tries)
		SELECT c, 1, (SELECT count(*) FROM casq.event_failures) + n, 1, $1, key, 'updated', now(), 'refused', 4
		FROM unnest($2::text[]) WITH ORDINALITY AS k (key, n), unnest(ARRAY['registry', 'another']) AS c`, kind, keys)
}

func (b *refetchBundle) wantOpen(t *testing.T, want int) {
	t.Helper()
	var open, closed int
	err := b.Pool.QueryRow(t.Context(), `SELECT count(*) FILTER (WHERE cursor = 'registry' AND replayed_at IS NULL),
		count(*) FILTER (WHERE cursor <> 'registry' AND replayed_at IS NOT NULL) FROM casq.event_failures`).Scan(&open, &closed)
	if err != nil {
		t.Fatal(err)
	}
	if open != want || closed != 0 {
		t.Errorf("%d are open, want %d; of another cursor's, %d were closed", open, want, closed)
	}
}

// Page by page, several events of a resource, resources that are there and gone, and
// kinds that cannot be listed, which stay open and stop nobody else.
func TestReplay(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for _, size := range []int{1, 2, 1000} {
		b := setupRefetch(t)
		b.follow(t)
		b.put(t, "there", 1)
		b.put(t, "there, too", 1)
		b.know(t, "gone", 1, 0, false)
		b.Exec(t, "SELECT casq.define_kind('by_hand', 'none')")
		b.deadLetter(t, "by_hand", "x", "y", "z")
		b.deadLetter(t, kind, "there", "there, too", "gone", "never", "there")
		opts := ReplayOptions{PageSize: size}
		report, err := Replay(t.Context(), b.Pool, b.Pool, b.Queue, opts)
		if !errors.Is(err, ErrUnlisted) || !strings.Contains(err.Error(), "by_hand") {
			t.Errorf("error is %v", err)
		}
		// One page of one failure re-fetches a resource twice.
		if report.Failures != 5 || report.Copied+report.Late < 2 || report.Removed != 1 || report.Unknown != 1 {
			t.Errorf("by %d: %+v", size, report)
		}
		b.wantOpen(t, 3)
	}
}

// The closing fails, as when the process dies before it: the next replay re-fetches
// again. And what is dead-lettered while the source is read stays open.
func TestReplayThatIsCutOff(t *testing.T) {
	t.Parallel()
	b := setupRefetch(t)
	b.follow(t)
	b.put(t, "x", 1)
	b.deadLetter(t, kind, "x")
	b.Exec(t, `CREATE FUNCTION cut_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'cut off'; END $$`)
	b.Exec(t, "CREATE TRIGGER cut_off BEFORE UPDATE ON casq.event_failures FOR EACH ROW EXECUTE FUNCTION cut_off()")
	report, err := Replay(t.Context(), b.Pool, b.Pool, b.Queue, ReplayOptions{})
	if err == nil || report.Copied != 1 || report.Failures != 0 {
		t.Errorf("%+v, %v", report, err)
	}
	b.wantOpen(t, 1)
	first := b.Row(t, "x").Version
	b.Exec(t, "DROP TRIGGER cut_off ON casq.event_failures")
	// The re-fetch writes the row: that is when another failure comes.
	b.Exec(t, `CREATE FUNCTION meanwhile() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		INSERT INTO casq.event_failures (cursor, timeline, event_id, tick, kind, resource_id, op, occurred_at, reason, tries)
		VALUES ('registry', 1, 77, 1, 'resource', 'x', 'updated', now(), 'refused', 4) ON CONFLICT DO NOTHING; RETURN NULL; END $$`)
	b.Exec(t, "CREATE TRIGGER meanwhile AFTER UPDATE ON casq.registry FOR EACH ROW EXECUTE FUNCTION meanwhile()")
	page, err := replayPage(t.Context(), b.Pool, ReplayOptions{}, failure{})
	if err != nil || len(page) != 1 {
		t.Fatal(page, err)
	}
	if err := report.replay(t.Context(), b.Pool, b.Pool, b.Queue, page); err != nil || report.Failures != 1 {
		t.Errorf("%+v, %v", report, err)
	}
	if got := b.Row(t, "x").Version; got <= first {
		t.Errorf("version is %d, was %d: it was not re-fetched", got, first)
	}
	b.wantOpen(t, 1)
}
