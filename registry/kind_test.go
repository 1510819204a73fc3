package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"casq/eventlog"
	"casq/internal/database"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// setupKind is a bundle with a kind of files, "doc", of which "a" is in place, "b"
// is being copied, "c" was removed, and "d" is to be removed.
func setupKind(t *testing.T) *testBundle {
	t.Helper()
	b := setup(t)
	b.Exec(t, "SELECT casq.define_kind('doc', 'file')")
	process := b.Process(t).ID()
	b.Exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, deleted_at, claim, claim_process)
		SELECT 'doc', key, 1, n, 1, '{}', CASE WHEN key IN ('c', 'd') THEN now() END,
			CASE WHEN key = 'b' THEN gen_random_uuid() END, CASE WHEN key = 'b' THEN $1::uuid END
		FROM unnest(ARRAY['a', 'b', 'c', 'd']) WITH ORDINALITY AS k (key, n)`, process)
	b.Exec(t, "UPDATE casq.registry SET synced_version = version, synced_incarnation = 1, checksum = 'x' WHERE resource_id IN ('a', 'c')")
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
	before := b.Text(t, stateOfKind)
	for name, opts := range map[string]registry.MoveOptions{"dry run": {DryRun: true}, "dry run in pages": {DryRun: true, PageSize: 1}} {
		moved, err := registry.MoveKind(t.Context(), b.Pool, b.Queue, "doc", "new/place", opts)
		if want := (registry.MovedKind{"doc", "new/place", 3}); err != nil || moved != want {
			t.Errorf("%s: %+v, %v", name, moved, err)
		}
	}
	// Killed after each page.
	for n := 1; n <= 3; n++ {
		ctx, kill := context.WithCancel(t.Context())
		_, err := registry.MoveKind(ctx, b.Pool, b.Queue, "doc", "new/place", registry.MoveOptions{PageSize: 1, Progress: func(asked int) {
			if asked == n {
				kill()
			}
		}})
		if err == nil {
			t.Errorf("killed at page %d: it was moved", n)
		}
	}
	if got := b.Text(t, stateOfKind); got != before || b.Text(t, prefixOfKind) != "doc" || len(b.TakeJobs(t)) > 0 {
		t.Fatalf("it is %s at %s; want %s, as before", got, b.Text(t, prefixOfKind), before)
	}
	moved, err := registry.MoveKind(t.Context(), b.Pool, b.Queue, "doc", "/new/place/", registry.MoveOptions{PageSize: 2})
	if want := (registry.MovedKind{"doc", "new/place", 3}); err != nil || moved != want {
		t.Errorf("%+v, %v", moved, err)
	}
	if got := b.Text(t, stateOfKind); got != "a pending t t, b pending t t, c removed f t, d removing t t" || b.Text(t, prefixOfKind) != "new/place" {
		t.Errorf("it is %s at %s", got, b.Text(t, prefixOfKind))
	}
	if got := b.TakeJobs(t); len(got) != 3 || got[0].ResourceID != "a" || !got[2].Deleted {
		t.Errorf("jobs: %v", got)
	}
	// Again, and an hour late.
	moved, err = registry.MoveKind(t.Context(), b.Pool, b.Queue, "doc", "new/place", registry.MoveOptions{})
	if want := (registry.MovedKind{"new/place", "new/place", 0}); err != nil || moved != want || len(b.TakeJobs(t)) > 0 {
		t.Errorf("again: %+v, %v", moved, err)
	}
}

// Of two operators the second finds what the first has done; beside them the log
// goes on, and claims are granted.
func TestMoveKindByTwo(t *testing.T) {
	t.Parallel()
	b := setupKind(t)
	process := b.Process(t)
	r := registry.New(registry.Config{Pool: b.Pool, Jobs: b.Queue, Logger: b.Logger}, process)
	var group sync.WaitGroup
	for n := range 4 {
		group.Go(func() {
			if _, err := registry.MoveKind(t.Context(), b.Pool, b.Queue, "doc", fmt.Sprintf("place%d", n%2), registry.MoveOptions{PageSize: 1}); err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			for range 10 {
				var version int64
				if err := b.Pool.QueryRow(t.Context(), "SELECT version FROM casq.registry WHERE kind = 'doc' AND resource_id = 'a'").Scan(&version); err != nil {
					t.Error(err)
					return
				}
				claim, err := r.Claim(t.Context(), registry.Token{"doc", "a", version}, 1)
				if err != nil {
					continue // superseded, or another has it
				}
				err = r.Publish(claim, registry.Result{Checksum: claim.Of.Prefix}, nil)
				if err != nil && !errors.Is(err, registry.ErrFenced) && !errors.Is(err, registry.ErrSuperseded) {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if got := b.Text(t, "SELECT count(*) FROM casq.registry AS r JOIN casq.kinds AS k USING (kind) WHERE resource_id = 'a' AND synced_version = version AND checksum <> prefix"); got != "0" {
		t.Error("a says synced, and was put where the kind was before")
	}
}

// A version that takes the place of one whose job is prompt is prompt, too.
func TestMoveKindLeavesPromptWhatIs(t *testing.T) {
	t.Parallel()
	b := setupKind(t)
	b.Exec(t, `INSERT INTO river.river_job (kind, queue, max_attempts, priority, args)
		SELECT CASE WHEN deleted_at IS NULL THEN 'casq_sync' ELSE 'casq_remove' END, kind, 25, CASE resource_id WHEN 'b' THEN 3 ELSE 1 END,
			jsonb_build_object('kind', kind, 'resource_id', resource_id, 'version', version)
		FROM casq.registry WHERE resource_id IN ('a', 'b', 'd')`)
	if _, err := registry.MoveKind(t.Context(), b.Pool, b.Queue, "doc", "new", registry.MoveOptions{}); err != nil {
		t.Fatal(err)
	}
	// What is in place already waits for nothing: a is copied by and by.
	if got, want := b.Urgencies(t), []registry.Urgency{registry.Bulk, registry.Bulk, registry.Prompt}; !slices.Equal(got, want) {
		t.Errorf("urgencies of a, b and d are %v, want %v", got, want)
	}
}

func TestMoveKindRefused(t *testing.T) {
	t.Parallel()
	b := setupKind(t)
	b.Exec(t, "SELECT casq.define_kind('other', 'file', prefix => 'x/y'), casq.define_kind('repo', 'git')")
	b.Exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload, size) SELECT 'other', key, 1, 1, 1, '{}', 0 FROM unnest(ARRAY['a', 'b/in']) AS key`)
	for _, c := range []struct{ kind, prefix, want string }{
		{"nobody", "a", "unknown kind"},
		{kind, "a", "no place"},
		{"doc", "x/y", `doc "a" would have the place of other "a"`},
		{"doc", "x/y/a", `doc "a" would have the place of other "a"`},
		{"doc", "../up", "not a folder"},
		{"doc", ".casq", "kept for staging"},
		{"doc", "a\nb", "not a folder"},
	} {
		if _, err := registry.MoveKind(t.Context(), b.Pool, b.Queue, c.kind, c.prefix, registry.MoveOptions{}); !errors.Is(err, registry.ErrKind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s to %q: %v, want %s", c.kind, c.prefix, err, c.want)
		}
	}
	if got := b.Text(t, prefixOfKind); got != "doc" || len(b.TakeJobs(t)) > 0 {
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
		// As one who sets triggers aside.
		"SET LOCAL casq.x = ''; ALTER TABLE casq.kinds DISABLE TRIGGER guard_kind; DELETE FROM casq.kinds WHERE kind = 'doc'": "",
	} {
		err := pgx.BeginFunc(t.Context(), b.Pool, func(tx pgx.Tx) error {
			_, err := tx.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
			return err
		})
		if said := database.Explain(err); err == nil || !strings.Contains(said, hint) {
			t.Errorf("%s: %s, want %s", sql, said, hint)
		}
	}
	// Repeated without a word of the prefix it is as it is.
	b.Exec(t, "SELECT casq.define_kind('doc', 'file')")
	if _, err := registry.MoveKind(t.Context(), b.Pool, b.Queue, "doc", "new", registry.MoveOptions{}); err != nil {
		t.Fatal(err)
	}
	b.Exec(t, "SELECT casq.define_kind('doc', 'file')")
	// Nothing is in place any more, and nobody at work: only the end of all is refused.
	b.Exec(t, "UPDATE casq.kinds SET prefix = 'newer' WHERE kind = 'doc'")
}

// A kind that is dropped takes with it what this site knows of it. What comes late
// from the log is dead-lettered, and brings nothing back.
func TestDropKind(t *testing.T) {
	t.Parallel()
	b := setupKind(t)
	b.Exec(t, "INSERT INTO casq.selections (kind, scopes) VALUES ('doc', '{}')")
	b.Exec(t, `INSERT INTO casq.event_failures (cursor, timeline, event_id, tick, kind, resource_id, op, occurred_at, reason, tries)
		VALUES ('registry', 1, 1, 1, 'doc', 'a', 'updated', now(), 'too large', 4)`)
	b.Exec(t, `INSERT INTO river.river_job (kind, queue, args, max_attempts) VALUES
		('casq_sync', 'doc', '{"kind": "doc", "resource_id": "a", "version": 1}', 25), ('casq_sync', 'doc', '{"kind": "other", "resource_id": "a", "version": 1}', 25)`)
	b.Exec(t, `INSERT INTO casq.counter_shards (shard, system_identifier, timeline, timeline_id, tick, nonce) VALUES (0, 1, 1, gen_random_uuid(), 1, gen_random_uuid())`)
	b.Exec(t, `INSERT INTO casq.counters (kind, scope_id, shard) VALUES ('doc', '1', 0), ('other', '1', 0)`)
	b.Exec(t, `INSERT INTO casq.scans (kind, all_scopes, compare, floor_timeline, floor_tick) VALUES ('doc', true, false, 1, 1), ('other', true, false, 1, 1)`)
	b.Exec(t, `INSERT INTO casq.refreshes (scan, kind) SELECT id, kind FROM casq.scans`)
	b.Exec(t, `INSERT INTO river.river_queue (name, updated_at) VALUES ('doc', now()), ('other', now())`)
	for _, dry := range []bool{true, false} {
		n, err := registry.DropKind(t.Context(), b.Pool, "doc", true, dry, nil)
		if err != nil || n != 4 {
			t.Errorf("dropped %d, %v", n, err)
		}
		left := b.Text(t, `SELECT concat_ws(' ', (SELECT count(*) FROM casq.kinds), (SELECT count(*) FROM casq.registry), (SELECT count(*) FROM casq.selections),
			(SELECT count(*) FROM casq.event_failures), (SELECT count(*) FROM river.river_job),
			(SELECT count(*) FROM casq.statistics), (SELECT count(*) FROM casq.refresh_status), (SELECT count(*) FROM river.river_queue))`)
		if want := map[bool]string{true: "2 4 1 1 2 2 2 2", false: "1 0 0 0 1 1 1 1"}[dry]; left != want {
			t.Errorf("left are %s, want %s", left, want)
		}
	}
	if _, err := registry.DropKind(t.Context(), b.Pool, "doc", true, false, nil); !errors.Is(err, registry.ErrKind) {
		t.Errorf("a second time: %v", err)
	}
	late := eventlog.Batch{Timeline: eventlog.Timeline{Ordinal: 1}, Tick: 2, Events: []eventlog.Event{
		{ID: 9, Kind: "doc", ResourceID: "a", Op: eventlog.Updated, Payload: []byte("{}")},
	}}
	err := pgx.BeginFunc(t.Context(), b.Pool, func(tx pgx.Tx) error { return b.Transposer.Apply(t.Context(), tx, late) })
	if !errors.Is(err, eventlog.ErrUnknownKind) {
		t.Errorf("an event that comes late: %v", err)
	}
}

// A kind of many resources is forgotten page by page: broken off after each, repeated it
// goes on.
func TestDropKindInPages(t *testing.T) {
	t.Parallel()
	b := setupKind(t)
	b.Exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload) SELECT 'doc', 'k' || n, 1, n, 1, '{}' FROM generate_series(1, 11000) AS n`)
	b.Exec(t, `INSERT INTO river.river_job (kind, queue, args, max_attempts) SELECT 'casq_sync', 'doc', jsonb_build_object('kind', 'doc', 'resource_id', 'k' || n, 'version', 1), 25
		FROM generate_series(1, 11000) AS n`)
	for _, want := range []int64{5000, 5000} {
		ctx, kill := context.WithCancel(t.Context())
		n, err := registry.DropKind(ctx, b.Pool, "doc", true, false, func(int64) { kill() })
		if err == nil || n != want {
			t.Errorf("broken off: forgot %d, %v", n, err)
		}
	}
	if got := b.Text(t, "SELECT concat_ws(' ', (SELECT count(*) FROM casq.registry), (SELECT count(*) FROM river.river_job), (SELECT count(*) FROM casq.kinds WHERE kind = 'doc'))"); got != "1004 1004 1" {
		t.Errorf("left are %s", got)
	}
	if n, err := registry.DropKind(t.Context(), b.Pool, "doc", true, false, nil); err != nil || n != 1004 {
		t.Errorf("repeated: forgot %d, %v", n, err)
	}
	if got := b.Text(t, "SELECT concat_ws(' ', (SELECT count(*) FROM casq.registry), (SELECT count(*) FROM river.river_job), (SELECT count(*) FROM casq.kinds WHERE kind = 'doc'))"); got != "0 0 0" {
		t.Errorf("left are %s", got)
	}
}
