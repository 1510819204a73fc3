package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"casq/eventlog"
	"casq/internal/database"

	"github.com/jackc/pgx/v5"
)

// setupKind is a bundle with a kind of files, "doc", of which "a" is in place, "b"
// is being copied, "c" was removed, and "d" is to be removed.
func setupKind(t *testing.T) *testBundle {
	t.Helper()
	b := setup(t)
	b.exec(t, "SELECT casq.define_kind('doc', 'file')")
	process := b.process(t).ID()
	b.exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, deleted_at, claim, claim_process)
		SELECT 'doc', key, 1, n, 1, '{}', CASE WHEN key IN ('c', 'd') THEN now() END,
			CASE WHEN key = 'b' THEN gen_random_uuid() END, CASE WHEN key = 'b' THEN $1::uuid END
		FROM unnest(ARRAY['a', 'b', 'c', 'd']) WITH ORDINALITY AS k (key, n)`, process)
	b.exec(t, "UPDATE casq.registry SET synced_version = version, synced_incarnation = 1, checksum = 'x' WHERE resource_id IN ('a', 'c')")
	return b
}

const stateOfKind = `SELECT string_agg(concat_ws(' ', r.resource_id, s.status, r.synced_version IS NULL, r.claim IS NULL), ', ' ORDER BY r.resource_id)
	FROM casq.registry AS r JOIN casq.registry_status AS s USING (kind, resource_id) WHERE kind = 'doc'`

const prefixOfKind = "SELECT prefix FROM casq.kinds WHERE kind = 'doc'"

// All that is wanted is copied anew, and what is under way is taken away; once, and
// never half.
func TestMoveKind(t *testing.T) {
	t.Parallel()
	b := setupKind(t)
	before := b.text(t, stateOfKind)
	for name, opts := range map[string]MoveOptions{"dry run": {DryRun: true}, "dry run in pages": {DryRun: true, PageSize: 1}} {
		moved, err := MoveKind(t.Context(), b.pool, b.queue, "doc", "new/place", opts)
		if want := (MovedKind{"doc", "new/place", 3}); err != nil || moved != want {
			t.Errorf("%s: %+v, %v", name, moved, err)
		}
	}
	// Killed after each page.
	for n := 1; n <= 3; n++ {
		ctx, kill := context.WithCancel(t.Context())
		_, err := MoveKind(ctx, b.pool, b.queue, "doc", "new/place", MoveOptions{PageSize: 1, Progress: func(asked int) {
			if asked == n {
				kill()
			}
		}})
		if err == nil {
			t.Errorf("killed at page %d: it was moved", n)
		}
	}
	if got := b.text(t, stateOfKind); got != before || b.text(t, prefixOfKind) != "doc" || len(b.takeJobs(t)) > 0 {
		t.Fatalf("it is %s at %s; want %s, as before", got, b.text(t, prefixOfKind), before)
	}
	moved, err := MoveKind(t.Context(), b.pool, b.queue, "doc", "/new/place/", MoveOptions{PageSize: 2})
	if want := (MovedKind{"doc", "new/place", 3}); err != nil || moved != want {
		t.Errorf("%+v, %v", moved, err)
	}
	if got := b.text(t, stateOfKind); got != "a pending t t, b pending t t, c removed f t, d removing t t" || b.text(t, prefixOfKind) != "new/place" {
		t.Errorf("it is %s at %s", got, b.text(t, prefixOfKind))
	}
	if got := b.takeJobs(t); len(got) != 3 || got[0].ResourceID != "a" || !got[2].Deleted {
		t.Errorf("jobs: %v", got)
	}
	// Again, and an hour late.
	moved, err = MoveKind(t.Context(), b.pool, b.queue, "doc", "new/place", MoveOptions{})
	if want := (MovedKind{"new/place", "new/place", 0}); err != nil || moved != want || len(b.takeJobs(t)) > 0 {
		t.Errorf("again: %+v, %v", moved, err)
	}
}

// Of two operators the second finds what the first has done; beside them the log
// goes on, and claims are granted.
func TestMoveKindByTwo(t *testing.T) {
	t.Parallel()
	b := setupKind(t)
	process := b.process(t)
	r := New(Config{Pool: b.pool, Jobs: b.queue, Logger: b.logger}, process)
	var group sync.WaitGroup
	for n := range 4 {
		group.Go(func() {
			if _, err := MoveKind(t.Context(), b.pool, b.queue, "doc", fmt.Sprintf("place%d", n%2), MoveOptions{PageSize: 1}); err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			for range 10 {
				var version int64
				if err := b.pool.QueryRow(t.Context(), "SELECT version FROM casq.registry WHERE kind = 'doc' AND resource_id = 'a'").Scan(&version); err != nil {
					t.Error(err)
					return
				}
				claim, err := r.Claim(t.Context(), Token{"doc", "a", version}, 1)
				if err != nil {
					continue // superseded, or another has it
				}
				err = r.Publish(claim, Result{Checksum: claim.Of.Prefix}, nil)
				if err != nil && !errors.Is(err, ErrFenced) && !errors.Is(err, ErrSuperseded) {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got := b.text(t, "SELECT count(*) FROM casq.registry AS r JOIN casq.kinds AS k USING (kind) WHERE resource_id = 'a' AND synced_version = version AND checksum <> prefix"); got != "0" {
		t.Error("a says synced, and was put where the kind was before")
	}
}

func TestMoveKindRefused(t *testing.T) {
	t.Parallel()
	b := setupKind(t)
	b.exec(t, "SELECT casq.define_kind('other', 'file', prefix => 'x/y'), casq.define_kind('repo', 'git')")
	for _, c := range []struct{ kind, prefix, want string }{
		{"nobody", "a", "unknown kind"},
		{kind, "a", "no place"},
		{"doc", "x", "would share a place with kind 'other'"},
		{"doc", "x/y/z", "share a place"},
		{"doc", "", "share a place"},
		{"doc", "../up", "not a folder"},
		{"doc", ".casq", "kept for staging"},
		{"doc", "a\nb", "not a folder"},
	} {
		if _, err := MoveKind(t.Context(), b.pool, b.queue, c.kind, c.prefix, MoveOptions{}); !errors.Is(err, ErrKind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s to %q: %v, want %s", c.kind, c.prefix, err, c.want)
		}
	}
	if got := b.text(t, prefixOfKind); got != "doc" || len(b.takeJobs(t)) > 0 {
		t.Errorf("it is at %q", got)
	}
}

// What is changed by hand while something goes by it is refused, with what to do.
func TestKindsByHand(t *testing.T) {
	t.Parallel()
	b := setupKind(t)
	for sql, hint := range map[string]string{
		"DELETE FROM casq.kinds WHERE kind = 'doc'":                             "enqueue kind drop doc",
		"DELETE FROM casq.kinds":                                                "enqueue kind drop doc",
		"UPDATE casq.kinds SET prefix = 'new' WHERE kind = 'doc'":               "enqueue kind move doc",
		"UPDATE casq.kinds SET queue = 'new' WHERE kind = 'doc'":                "enqueue kind drop doc",
		"UPDATE casq.kinds SET kind = 'dok', prefix = 'dok' WHERE kind = 'doc'": "enqueue kind drop doc",
		"SELECT casq.drop_kind('doc')":                                          "enqueue kind drop doc",
		"SELECT casq.drop_kind('dok')":                                          "Known kinds: doc, resource",
		"SELECT casq.define_kind('doc', 'file', prefix => 'new')":               "enqueue kind move doc",
		"SELECT casq.define_kind('all', 'file', prefix => 'doc/in')":            "a prefix of its own",
		// As one who sets triggers aside.
		"SET LOCAL casq.x = ''; ALTER TABLE casq.kinds DISABLE TRIGGER guard_kind; DELETE FROM casq.kinds WHERE kind = 'doc'": "",
	} {
		err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
			return err
		})
		if said := database.Explain(err); err == nil || !strings.Contains(said, hint) {
			t.Errorf("%s: %s, want %s", sql, said, hint)
		}
	}
	// Repeated without a word of the prefix it is as it is.
	b.exec(t, "SELECT casq.define_kind('doc', 'file')")
	if _, err := MoveKind(t.Context(), b.pool, b.queue, "doc", "new", MoveOptions{}); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "SELECT casq.define_kind('doc', 'file')")
	// Nothing is in place any more, and nobody at work: only the end of all is refused.
	b.exec(t, "UPDATE casq.kinds SET prefix = 'newer' WHERE kind = 'doc'")
}

// A kind that is dropped takes with it what this site knows of it. What comes late
// from the log is dead-lettered, and brings nothing back.
func TestDropKind(t *testing.T) {
	t.Parallel()
	b := setupKind(t)
	b.exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ('doc', '{}')")
	b.exec(t, `INSERT INTO casq.event_failures (cursor, timeline, event_id, tick, kind, resource_id, op, occurred_at, reason, tries)
		VALUES ('registry', 1, 1, 1, 'doc', 'a', 'updated', now(), 'too large', 4)`)
	b.exec(t, `INSERT INTO river.river_job (kind, queue, args, max_attempts) VALUES
		('casq_sync', 'doc', '{"kind": "doc", "resource_id": "a", "version": 1}', 25), ('casq_sync', 'doc', '{"kind": "other", "resource_id": "a", "version": 1}', 25)`)
	for _, dry := range []bool{true, false} {
		n, err := DropKind(t.Context(), b.pool, "doc", true, dry)
		if err != nil || n != 4 {
			t.Errorf("dropped %d, %v", n, err)
		}
		left := b.text(t, `SELECT concat_ws(' ', (SELECT count(*) FROM casq.kinds), (SELECT count(*) FROM casq.registry), (SELECT count(*) FROM casq.selections),
			(SELECT count(*) FROM casq.event_failures), (SELECT count(*) FROM river.river_job))`)
		if want := map[bool]string{true: "2 4 1 1 2", false: "1 0 0 0 1"}[dry]; left != want {
			t.Errorf("left are %s, want %s", left, want)
		}
	}
	if _, err := DropKind(t.Context(), b.pool, "doc", true, false); !errors.Is(err, ErrKind) {
		t.Errorf("a second time: %v", err)
	}
	late := eventlog.Batch{Timeline: eventlog.Timeline{Ordinal: 1}, Tick: 2, Events: []eventlog.Event{
		{ID: 9, Kind: "doc", ResourceID: "a", Op: eventlog.Updated, Payload: []byte("{}")},
	}}
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error { return b.transposer.Apply(t.Context(), tx, late) })
	if !errors.Is(err, eventlog.ErrUnknownKind) {
		t.Errorf("an event that comes late: %v", err)
	}
}
