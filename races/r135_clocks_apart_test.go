package races

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
	"testing"
	"time"

	"casq/internal/worker"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
)

// r135Apart is how far the clocks are apart; it is longer than anything here takes.
const r135Apart = "3 min"

// TestR135ClocksApart: the clocks of a worker and of its database are minutes apart,
// either way, and the database's jumps. Who stamps a retry by the one, and has it
// fetched by the other, makes it come minutes late, or at once and again and again.
func TestR135ClocksApart(t *testing.T) {
	t.Parallel()
	t.Run("twin/stamped by the worker", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		s.moveClock(t, "-"+r135Apart)
		s.snoozeOnce(t)
		s.until(t, "the snooze", func() bool {
			return s.number(t, `SELECT count(*) FROM river.river_job WHERE metadata ->> 'snoozes' = '1'`) == 1
		})
		if n := s.number(t, `SELECT count(*) FROM river.river_job WHERE scheduled_at > shifted.now() + interval '2 min'`); n != 1 {
			t.Errorf("a snooze of 100 ms is over in time; want minutes too late, for that is what goes wrong")
		}
	})
	for name, apart := range map[string]string{"the database is behind": "-" + r135Apart, "the database is ahead": r135Apart} {
		t.Run("ours/"+name, func(t *testing.T) {
			t.Parallel()
			s := newRegistrySite(t)
			s.moveClock(t, apart)
			s.work(t, newPoints())
			s.putRowOnly(t, "content")
			s.until(t, "two attempts", func() bool { return s.row(t).Attempts >= 2 && s.row(t).Claim == nil })
			// A second, then 16.
			if n := s.number(t, `SELECT count(*) FROM casq.registry WHERE retry_at - shifted.now() BETWEEN interval '1 s' AND interval '18 s'`); n != 1 {
				t.Errorf("the next attempt is at %v, the database's time is %s", s.row(t).RetryAt, lines(t, s.pool, "SELECT shifted.now()::text"))
			}
			s.until(t, "a job that waits for as long", func() bool {
				return s.number(t, `SELECT count(*) FROM river.river_job WHERE state = 'scheduled'
					AND scheduled_at - shifted.now() BETWEEN interval '1 s' AND interval '18 s'`) == 1
			})
			s.put(t, "newer content")
			s.reaches(t, "synced", "newer content")
		})
	}
	t.Run("ours/asked by who does not work", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		s.moveClock(t, "-"+r135Apart)
		s.pool.Reset() // sessions that began before have the machine's clock
		s.work(t, newPoints())
		s.put(t, "content")
		s.reaches(t, "synced", "content")
		s.overwrite(t, "other bytes")
		s.verify(t)
		s.until(t, "the repair", func() bool { return s.files(t)[key] == "content" })
	})
	t.Run("ours/who has not noticed is dead", func(t *testing.T) {
		t.Parallel()
		s := newRegistrySite(t)
		execute(t, s.pool, `INSERT INTO river.river_job (state, queue, kind, args, max_attempts, scheduled_at)
			VALUES ('available', 'artifact', 'casq_sync', '{"kind": "artifact", "resource_id": "other", "version": 1}', 4, now() + interval '`+r135Apart+`')`)
		s.work(t, newPoints())
		s.until(t, "the job", func() bool {
			return s.number(t, `SELECT count(*) FROM river.river_job WHERE kind = 'casq_sync' AND finalized_at IS NOT NULL`) == 1
		})
	})
	t.Run("ours/the database's clock jumps back", func(t *testing.T) {
		t.Parallel()
		s, points := newRegistrySite(t), newPoints()
		s.moveClock(t, r135Apart)
		s.work(t, points, func(c *worker.Config) { c.Concurrency = 1 })
		s.putRowOnly(t, "content")
		s.until(t, "an attempt that waits for 16 s", func() bool { return s.row(t).Attempts == 2 && s.row(t).Claim == nil })
		busy := points.stopAt("work:fetched")
		execute(t, s.pool, `INSERT INTO artifacts (path, size, sha256) VALUES ('busy', 1, repeat('0', 64))`)
		busy.wait(t)
		s.writeAs(t, "waits", "x")
		execute(t, s.pool, `INSERT INTO artifacts (path, size, sha256) VALUES ('waits', 1, encode(sha256('x'), 'hex'))`)
		s.until(t, "a job that is available", func() bool {
			return s.number(t, `SELECT count(*) FROM river.river_job WHERE state = 'available' AND args ->> 'resource_id' = 'waits'`) == 1
		})
		s.moveClock(t, "-"+r135Apart)
		busy.release()
		s.until(t, "the one that was available", func() bool { return s.files(t)["waits"] == "x" })
		s.until(t, "a retry in time", func() bool {
			return s.number(t, `SELECT count(*) FROM river.river_job WHERE args ->> 'resource_id' = '`+key+`'
				AND scheduled_at < shifted.now() + interval '18 s'`) == 1
		})
	})
}

// moveClock sets the database's clock, for all sessions that begin from now on, so
// far apart from this machine's; or moves it.
func (s *registrySite) moveClock(t *testing.T, apart string) {
	t.Helper()
	execute(t, s.pool, `
		CREATE SCHEMA IF NOT EXISTS shifted;
		CREATE TABLE IF NOT EXISTS shifted.clock (apart interval NOT NULL);
		DELETE FROM shifted.clock;
		INSERT INTO shifted.clock VALUES ('`+apart+`');
		CREATE OR REPLACE FUNCTION shifted.now() RETURNS timestamptz STABLE LANGUAGE sql
			AS 'SELECT pg_catalog.now() + apart FROM shifted.clock';
		CREATE OR REPLACE FUNCTION shifted.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql
			AS 'SELECT pg_catalog.clock_timestamp() + apart FROM shifted.clock';
		DO $$ BEGIN
			EXECUTE format('ALTER DATABASE %I SET search_path = shifted, pg_catalog, public', current_database());
		END $$`)
	// casq's own sessions have none of the database's settings.
	if !strings.Contains(s.url, "search_path") {
		s.url += "&search_path=shifted,pg_catalog,public"
	}
}

// putRowOnly writes a row whose file is still to come.
func (s *registrySite) putRowOnly(t *testing.T, content string) {
	t.Helper()
	sum := sha256.Sum256([]byte(content))
	_, err := s.pool.Exec(t.Context(), `INSERT INTO artifacts (path, size, sha256) VALUES ($1, $2, $3)`,
		key, len(content), hex.EncodeToString(sum[:]))
	if err != nil {
		t.Fatal(err)
	}
}

type r135Args struct{}

func (r135Args) Kind() string { return "r135" }

// r135Snoozer sleeps once.
type r135Snoozer struct {
	river.WorkerDefaults[r135Args]
}

func (r135Snoozer) Work(context.Context, *river.Job[r135Args]) error {
	return river.JobSnooze(100 * time.Millisecond)
}

// snoozeOnce runs a worker that leaves its times to River, until the test ends.
func (s *registrySite) snoozeOnce(t *testing.T) {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	workers := river.NewWorkers()
	river.AddWorker(workers, r135Snoozer{})
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		Schema: "river", Workers: workers, Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1}},
		Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	err = pgx.BeginFunc(t.Context(), s.pool, func(tx pgx.Tx) error {
		_, err := client.InsertTx(t.Context(), tx, r135Args{}, &river.InsertOpts{ScheduledAt: time.Now().Add(-time.Hour)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
