package races

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"casq/eventlog"
	"casq/jobs"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// TestR87Poison: an event cannot be applied, since its data is refused; and all
// events cannot, since the disk is full. Who skips a batch that fails loses the
// events beside the one; who tries it for ever stops the log; who writes down
// what fails, and goes on, has written everything down by the time that there is
// room. The one has to be recorded and the rest go on in order, and nothing may
// be recorded for the disk.
func TestR87Poison(t *testing.T) {
	t.Parallel()
	t.Run("twin/skips the batch", func(t *testing.T) {
		t.Parallel()
		r := newR87(t, r87Refuse)
		r.naive(t, func(context.Context, eventlog.Batch, error) (bool, error) { return true, nil })
		wantResources(t, r.site.applied(t), "d")
	})
	t.Run("twin/tries for ever", func(t *testing.T) {
		t.Parallel()
		r := newR87(t, r87Refuse)
		tries := 0
		r.naive(t, func(context.Context, eventlog.Batch, error) (bool, error) {
			tries++
			if tries == 20 {
				return false, errStopped
			}
			return false, nil
		})
		wantResources(t, r.site.applied(t))
		t.Run("wins", func(t *testing.T) {
			t.Parallel()
			r := newR87(t, r87DiskFull)
			tries := 0
			r.naive(t, func(context.Context, eventlog.Batch, error) (bool, error) {
				tries++
				if tries == 20 {
					r.freeDisk(t)
				}
				return false, nil
			})
			wantResources(t, r.site.applied(t), "a", "poison", "b", "c", "d")
		})
	})
	t.Run("twin/records everything", func(t *testing.T) {
		t.Parallel()
		r := newR87(t, r87DiskFull)
		r.naive(t, r.record)
		r.freeDisk(t)
		wantResources(t, r.site.applied(t))
		t.Run("wins", func(t *testing.T) {
			t.Parallel()
			r := newR87(t, r87Refuse)
			r.naive(t, r.record)
			wantResources(t, r.site.applied(t), "a", "b", "c", "d")
		})
	})
	t.Run("ours/one event", func(t *testing.T) {
		t.Parallel()
		r := newR87(t, r87Refuse)
		cfg := r.site.config(t)
		cfg.PageSize = r87Page
		follow(t, cfg)
		r.site.wantApplied(t, "a", "b", "c", "d")
		wantFailures(t, r.site.pool, "race resource poison 23514")
	})
	t.Run("ours/full disk", func(t *testing.T) {
		t.Parallel()
		r := newR87(t, r87DiskFull)
		cfg := r.site.config(t)
		tried := make(chan struct{}, 1000)
		cfg.Hook = func(point string) {
			if point == "batch:entered" {
				tried <- struct{}{}
			}
		}
		follow(t, cfg)
		for range 10 {
			select {
			case <-tried:
			case <-time.After(patience):
				t.Fatal("the cursor does not try again")
			}
		}
		wantFailures(t, r.site.pool)
		wantResources(t, r.site.applied(t))
		r.freeDisk(t)
		r.site.wantApplied(t, "a", "poison", "b", "c", "d")
		wantFailures(t, r.site.pool)
	})
	t.Run("ours/registry", func(t *testing.T) {
		t.Parallel()
		playR87Registry(t)
	})
}

const (
	// r87Refuse is an operator's own constraint.
	r87Refuse = `ALTER TABLE applied ADD CONSTRAINT no_poison CHECK (resource <> 'poison')`
	// r87DiskFull raises what Postgres does: a disk of its own that can be filled
	// takes privileges that tests do not have.
	r87DiskFull = `CREATE TABLE disk AS SELECT true AS "full";
		CREATE FUNCTION use_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF (SELECT "full" FROM disk) THEN
				RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
			END IF;
			RETURN NULL;
		END $$;
		CREATE TRIGGER use_disk BEFORE INSERT ON applied FOR EACH STATEMENT EXECUTE FUNCTION use_disk()`
)

// r87Page has the event in a batch with others, and the next batch after it.
const r87Page = 4

var errStopped = errors.New("stopped")

type r87 struct{ site *logSite }

// newR87 is a log with an event that is refused, or a full disk.
func newR87(t *testing.T, trouble string) *r87 {
	t.Helper()
	r := &r87{newLogSite(t)}
	execute(t, r.site.pool, trouble)
	r.site.write(t, "a", "poison", "b", "c", "d")
	r.site.tick(t)
	return r
}

func (r *r87) freeDisk(t *testing.T) {
	t.Helper()
	execute(t, r.site.pool, `UPDATE disk SET "full" = false`)
}

// naive follows the log from its beginning, batch by batch, and asks what to do
// about one that fails: whether to go on after it.
func (r *r87) naive(t *testing.T, failed func(context.Context, eventlog.Batch, error) (bool, error)) {
	t.Helper()
	reader := eventlog.NewReader(r.site.pool, r87Page)
	p := r.site.start(t)
	for {
		batch, err := reader.Next(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		if batch.Next == p {
			return
		}
		err = pgx.BeginFunc(t.Context(), r.site.pool, func(tx pgx.Tx) error {
			return writeDown(t.Context(), tx, batch.Events)
		})
		goOn := err == nil
		if err != nil {
			goOn, err = failed(t.Context(), batch, err)
		}
		if err != nil {
			return
		}
		if goOn {
			p = batch.Next
		}
	}
}

// record applies the events one by one, and writes down those that fail.
func (r *r87) record(ctx context.Context, batch eventlog.Batch, _ error) (bool, error) {
	for _, e := range batch.Events {
		err := pgx.BeginFunc(ctx, r.site.pool, func(tx pgx.Tx) error {
			return writeDown(ctx, tx, []eventlog.Event{e})
		})
		if err == nil {
			continue
		}
		_, err = r.site.pool.Exec(ctx, `INSERT INTO casq.event_failures
			(cursor, timeline, event_id, tick, kind, resource_id, op, occurred_at, reason, tries)
			VALUES ('race', 1, $1, $2, $3, $4, $5, $6, $7, 1)`,
			e.ID, batch.Tick, e.Kind, e.ResourceID, e.Op, e.OccurredAt, err.Error())
		if err != nil {
			return false, err
		}
	}
	return true, nil
}

// wantFailures compares what was dead-lettered, with its SQLSTATE.
func wantFailures(t *testing.T, pool *pgxpool.Pool, want ...string) {
	t.Helper()
	got := lines(t, pool, "SELECT concat_ws(' ', cursor, kind, resource_id, code) FROM casq.event_failures ORDER BY event_id")
	if got != strings.Join(want, "\n") {
		t.Errorf("dead-lettered [%s], want %q", got, want)
	}
}

// playR87Registry follows the log of another site, whose kind "artifact" cannot
// be at home, since another one has its place there; and home's operator refuses
// a key.
func playR87Registry(t *testing.T) {
	t.Helper()
	source := newLogSite(t)
	execute(t, source.pool, `SELECT casq.define_kind('artifact', 'file', prefix => ''), casq.define_kind('build', 'none');
		SELECT casq.append_event('resource', 'a', 'created'), casq.append_event('artifact', 'b', 'created'),
		       casq.append_event('build', 'c', 'created'), casq.append_event('build', 'bad', 'created'),
		       casq.append_event('resource', 'a', 'deleted'), casq.append_event('build', 'd', 'created')`)
	source.tick(t)
	home := newLogSite(t)
	execute(t, home.pool, `SELECT casq.define_kind('document', 'git', queue => 'artifact');
		ALTER TABLE casq.registry ADD CONSTRAINT no_bad_keys CHECK (resource_id <> 'bad')`)
	cfg := home.config(t)
	queue, err := jobs.NewQueue(cfg.Home, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	cfg.Name, cfg.Source, cfg.Consumer = "registry", source.pool, &registry.Transposer{Jobs: queue}
	follow(t, cfg)
	home.until(t, "SELECT EXISTS (SELECT FROM casq.registry WHERE resource_id = 'd')")
	wantFailures(t, home.pool, "registry artifact b 22023", "registry build bad 23514")
	const rows = "SELECT concat_ws(' ', kind, resource_id, status) FROM casq.registry_status ORDER BY kind, resource_id"
	if got, want := lines(t, home.pool, rows), "build c pending\nbuild d pending\nresource a removing"; got != want {
		t.Errorf("rows are\n%s\nwant\n%s", got, want)
	}
	if got := lines(t, home.pool, "SELECT casq.why('build', 'bad')"); !strings.Contains(got, "no_bad_keys") {
		t.Errorf("why says %s", got)
	}
	// The operator was wrong; the resource's next event comes through.
	execute(t, home.pool, "ALTER TABLE casq.registry DROP CONSTRAINT no_bad_keys")
	execute(t, source.pool, "SELECT casq.append_event('build', 'bad', 'updated')")
	source.tick(t)
	home.until(t, "SELECT EXISTS (SELECT FROM casq.registry WHERE resource_id = 'bad')")
}
