package jobs

import (
	"context"
	"maps"
	"testing"
	"time"

	"casq/counter/recount"
	"casq/internal/testing/await"
	"casq/internal/testing/long"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/rivertype"
)

// Recounts that are under way and have no job get one again, and only those: later
// recounts wait for them.
func TestRecountsWithoutAJob(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	//nolint:dupword // these are values
	b.exec(t, `INSERT INTO casq.scans (kind, all_scopes, compare, floor_timeline, floor_tick, token, scanned_at, finished_at, in_parts)
		VALUES ('1 waits', true, false, 1, 1, NULL, NULL, NULL, false),
		       ('2 scans', true, false, 1, 1, gen_random_uuid(), NULL, NULL, false),
		       ('3 swaps', true, false, 1, 1, '11111111-1111-1111-1111-111111111111', now(), NULL, false),
		       ('4 in parts', true, false, 1, 1, NULL, NULL, NULL, true),
		       ('5 is over', true, false, 1, 1, NULL, now(), clock_timestamp(), false),
		       ('6 has a job', true, false, 1, 1, NULL, NULL, NULL, false),
		       ('7 had a job', true, false, 1, 1, NULL, NULL, NULL, false),
		       ('8 was written off', true, false, 1, 1, NULL, NULL, NULL, false),
		       ('9 has lost its part', true, false, 1, 1, NULL, NULL, NULL, true)`)
	//nolint:dupword // these are values
	b.exec(t, `INSERT INTO casq.scans (kind, all_scopes, compare, floor_timeline, floor_tick, part, part_of, finished_at)
		VALUES ('10 a part', false, false, 1, 1, 'table', 4, NULL),
		       ('11 a part that is over', false, false, 1, 1, 'table', 9, clock_timestamp())`)
	w := &CounterWorker{Recounts: b.recounts(), Queue: b.queue, Logger: b.log}
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		_, err := NewCounting(b.queue).Scan(t.Context(), tx, 6)
		if err == nil {
			_, err = NewCounting(b.queue).Scan(t.Context(), tx, 7)
		}
		if err == nil {
			_, err = NewCounting(b.queue).Scan(t.Context(), tx, 8)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, "UPDATE river.river_job SET state = 'discarded', finalized_at = now() WHERE args ->> 'scan' = '7'")
	b.exec(t, `UPDATE river.river_job SET state = 'running', attempted_at = now(), attempted_by = ARRAY['x'],
		metadata = '{"cancel_attempted_at": "2020-01-01T00:00:00Z"}' WHERE args ->> 'scan' = '8'`)
	for range 2 { // the second time there is nothing to do
		if err := w.Adopt(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := b.pool.Query(t.Context(), `SELECT args ->> 'scan', string_agg(kind || coalesce(' ' || (args ->> 'token'), ''), ', ')
		FROM river.river_job WHERE state = 'available' GROUP BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	var scan, job string
	if _, err = pgx.ForEachRow(rows, []any{&scan, &job}, func() error { got[scan] = job; return nil }); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"1": RefreshQueue, "2": RefreshQueue, "6": RefreshQueue, "7": RefreshQueue, "8": RefreshQueue,
		"9": RefreshQueue, "10": RefreshQueue,
		"3": FinalizeQueue + " 11111111-1111-1111-1111-111111111111",
	}
	if !maps.Equal(got, want) {
		t.Errorf("jobs %v, want %v", got, want)
	}
}

// A job that a dead process was running is queued again; that of a live one is not.
func TestRecountOfADeadProcessIsAdopted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO casq.scans (kind, all_scopes, compare, floor_timeline, floor_tick) VALUES ('artifact', true, false, 1, 1)`)
	b.exec(t, "INSERT INTO casq.processes (id, host, pid) VALUES ('11111111-1111-1111-1111-111111111111', 'test', 1)")
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		_, err := NewCounting(b.queue).Scan(t.Context(), tx, 1)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &CounterWorker{Recounts: b.recounts(), Queue: b.queue, Logger: b.log}
	for want, process := range []string{"11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"} {
		b.exec(t, "UPDATE river.river_job SET state = 'running', attempted_at = now(), attempted_by = ARRAY[$1] WHERE id = 1", process)
		for range 2 {
			if err := w.Adopt(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		var waiting int
		if err := b.pool.QueryRow(t.Context(), "SELECT count(*) FROM river.river_job WHERE state = 'available'").Scan(&waiting); err != nil || waiting != want {
			t.Errorf("%d jobs wait after process %s ran one, %v, want %d", waiting, process, err, want)
		}
	}
}

// What waits for its turn sleeps between two polls. The end of another recount's work
// wakes it, at once and once.
func TestTheEndOfARecountWakesTheNext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO casq.scans (kind, all_scopes, compare, floor_timeline, floor_tick)
		SELECT 'artifact', n = 8, false, 1, 1 FROM generate_series(1, 8) AS n`)
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		for scan := range int64(8) {
			if _, err := NewCounting(b.queue).Scan(t.Context(), tx, scan+1); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE casq.scans SET job = (SELECT j.id FROM river.river_job AS j WHERE j.args ->> 'scan' = scans.id::text);
		UPDATE river.river_job SET scheduled_at = now() + '1 day', metadata = '{"snoozes": 3}' WHERE args ->> 'scan' <> '6';
		UPDATE river.river_job SET state = 'running', attempted_at = now(), attempted_by = ARRAY['x'] WHERE args ->> 'scan' = '2';
		UPDATE casq.scans SET token = gen_random_uuid() WHERE id = 4`)
	w := &CounterWorker{Recounts: b.recounts(), Queue: b.queue, Logger: b.log}
	if err := w.ended(t.Context(), &rivertype.JobRow{ID: 100, Attempt: 1, MaxAttempts: 8}, 100, nil); err != nil {
		t.Fatal(err)
	}
	rows, err := b.pool.Query(t.Context(), `SELECT s.id, j.state = 'available' AND j.scheduled_at < now() + '1 minute'
		FROM casq.scans AS s JOIN river.river_job AS j ON j.id = s.job ORDER BY s.id`)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[int64]bool)
	var scan int64
	var due bool
	if _, err = pgx.ForEachRow(rows, []any{&scan, &due}, func() error { got[scan] = due; return nil }); err != nil {
		t.Fatal(err)
	}
	// 2 runs now, 4 has its turn, 6 has not slept yet, and 8 is of everything.
	want := map[int64]bool{1: true, 2: false, 3: true, 4: false, 5: true, 6: true, 7: true, 8: false}
	if !maps.Equal(got, want) {
		t.Errorf("due are %v, want %v", got, want)
	}
	var count int
	if err := b.pool.QueryRow(t.Context(), "SELECT count(*) FROM river.river_job").Scan(&count); err != nil || count != 8 {
		t.Errorf("%d jobs, %v, want one for each recount", count, err)
	}
}

// Beside the waker another one has woken a recount, or a worker has begun on it, by the
// time that its job could be deleted. It has one job then, and the next one is woken.
func TestARecountThatSomebodyElseWakes(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]string{
		"woken": `WITH woken AS (DELETE FROM river.river_job WHERE args ->> 'scan' = '1' RETURNING *)
			INSERT INTO river.river_job (kind, queue, max_attempts, args) SELECT kind, queue, max_attempts, args FROM woken`,
		"begun": `UPDATE river.river_job SET state = 'running', attempted_at = now(), attempted_by = ARRAY['x'] WHERE args ->> 'scan' = '1'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.asleep(t, 2)
			tx, err := b.pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tx.Rollback(context.Background()) }()
			if _, err := tx.Exec(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			w := &CounterWorker{Recounts: b.recounts(), Queue: b.queue, Logger: b.log}
			ended := make(chan error, 1)
			go func() { ended <- w.nextTurn(t.Context()) }()
			b.until(t, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')")
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := await.Value(t, 20*time.Second, "the waker", ended); err != nil {
				t.Error(err)
			}
			const jobs = `SELECT string_agg(concat_ws(' ', args ->> 'scan', metadata ? 'snoozes'), ', ' ORDER BY id) FROM river.river_job`
			var got string
			if err := b.pool.QueryRow(t.Context(), jobs).Scan(&got); err != nil {
				t.Fatal(err)
			}
			if want := map[string]string{"woken": "1 f, 2 f", "begun": "1 t, 2 f"}[name]; got != want {
				t.Errorf("the jobs of scans, and whether they sleep: %s; want %s", got, want)
			}
		})
	}
}

// asleep makes recounts of one scope each, which wait for their turn.
func (b *testBundle) asleep(t *testing.T, n int64) {
	t.Helper()
	b.exec(t, `INSERT INTO casq.scans (kind, all_scopes, floor_timeline, floor_tick, compare)
		SELECT 'artifact', false, 1, 1, false FROM generate_series(1, $1)`, n)
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		for scan := range n {
			if _, err := NewCounting(b.queue).Scan(t.Context(), tx, scan+1); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE river.river_job SET scheduled_at = now() + '1 day', metadata = '{"snoozes": 3}'`)
}

// recounts are those of the test's database, of counters that nobody feeds.
func (b *testBundle) recounts() *recount.Recounts {
	return recount.New(recount.Config{Home: b.pool, Jobs: NewCounting(b.queue), Logger: b.log})
}
