package main

import (
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// The resources that are damaged.
var (
	damagedFile       = single(0)
	damagedRepository = repositoryPath(0)
)

// damage breaks one promise, and says what is to be found.
type damage struct {
	check, want string
	sql         string // at home
	do          func(t *testing.T, c *chaos)
}

var damages = []damage{
	{check: "files", want: "is 2c26b46b68ff", do: func(t *testing.T, c *chaos) {
		t.Helper()
		must(t, os.WriteFile(c.work.path(targetFiles, kindArtifact, damagedFile), []byte("foo"), 0o600))
	}},
	{check: "files", want: "missing", do: func(t *testing.T, c *chaos) {
		t.Helper()
		must(t, os.Remove(c.work.path(targetFiles, kindArtifact, damagedFile)))
	}},
	{check: "files", want: "only at the second site", do: func(t *testing.T, c *chaos) {
		t.Helper()
		must(t, os.WriteFile(c.work.path(targetFiles, "more"), nil, 0o600))
	}},
	{check: "files", want: "neither file nor folder", do: func(t *testing.T, c *chaos) {
		t.Helper()
		must(t, os.Symlink("more", c.work.path(targetFiles, "link")))
	}},
	{check: "files", want: "empty folder", do: func(t *testing.T, c *chaos) {
		t.Helper()
		must(t, os.MkdirAll(c.work.path(targetFiles, "a/b"), 0o700))
	}},
	{check: "kept", want: "of those that are synced", sql: "INSERT INTO casq.registry_changes (kind, state, deleted, count, bytes) VALUES ('artifact', 'synced', false, 1, 0)"},
	{check: "staging", want: "left over", do: func(t *testing.T, c *chaos) {
		t.Helper()
		must(t, os.MkdirAll(c.work.path(targetRepositories, stagingFolder, "hash", "claim"), 0o700))
	}},
	{check: "repositories", want: "damaged", do: func(t *testing.T, c *chaos) {
		t.Helper()
		packs, err := filepath.Glob(c.work.path(targetRepositories, damagedRepository, "objects/pack/*.pack"))
		must(t, err)
		must(t, flipByte.do(packs[0], 0.5))
	}},
	{check: "repositories", want: "refs/casq/x", do: func(t *testing.T, c *chaos) {
		t.Helper()
		_, err := c.writer.repos.git(t.Context(), "", "--git-dir="+c.work.path(targetRepositories, damagedRepository),
			"update-ref", "refs/casq/x", "refs/heads/main")
		must(t, err)
	}},
	{check: "repositories", want: "HEAD is", do: func(t *testing.T, c *chaos) {
		t.Helper()
		git := "--git-dir=" + c.work.path(targetRepositories, damagedRepository)
		for _, args := range [][]string{{"update-ref", "-d", "refs/casq/x"}, {"symbolic-ref", "HEAD", "refs/heads/other"}} {
			_, err := c.writer.repos.git(t.Context(), "", append([]string{git}, args...)...)
			must(t, err)
		}
	}},
	{check: "repositories", want: "missing", do: func(t *testing.T, c *chaos) {
		t.Helper()
		must(t, os.Rename(c.work.path(targetRepositories, damagedRepository), c.work.path(targetRepositories, "team/more.git")))
	}},
	{check: "repositories", want: "more.git: only at the second site"},
	{check: "repositories", want: "in no repository", do: func(t *testing.T, c *chaos) {
		t.Helper()
		must(t, os.WriteFile(c.work.path(targetRepositories, "team/stray"), nil, 0o600))
	}},
	{check: "rows", want: "is pending", sql: "UPDATE casq.registry SET synced_version = NULL WHERE resource_id = 'singles/0/file 00'"},
	{check: "rows", want: "says that", sql: "UPDATE casq.registry SET synced_version = version, checksum = 'sha256:0' WHERE resource_id = 'singles/0/file 00'"},
	{check: "rows", want: "no such resource", sql: "UPDATE casq.registry SET resource_id = 'other' WHERE resource_id = 'singles/0/file 00'"},
	{check: "rows", want: "has no row"},
	{check: "jobs", want: "available", sql: `INSERT INTO river.river_job (state, queue, kind, args, max_attempts) VALUES ('available', 'q', 'k', '{}', 1)`},
	{check: "failures", want: "bad data", sql: `INSERT INTO casq.event_failures (cursor, timeline, event_id, tick, kind, resource_id, op, occurred_at, reason, tries)
		VALUES ('registry', 1, 1, 1, 'artifact', 'a', 'created', now(), 'bad data', 1)`},
	{check: "events", want: "applied 2 times", sql: "INSERT INTO recorded SELECT * FROM recorded ORDER BY event_id LIMIT 1"},
	{check: "events", want: "by another tick", sql: `INSERT INTO recorded SELECT r.timeline, r.timeline_id, o.tick, o.nonce, r.event_id, r.kind, r.resource_id, r.op, r.worker, r.epoch
		FROM (SELECT * FROM recorded ORDER BY event_id OFFSET 3 LIMIT 1) AS r, (SELECT * FROM recorded ORDER BY event_id DESC LIMIT 1) AS o`},
	{check: "events", want: "never applied", sql: "DELETE FROM recorded WHERE event_id = (SELECT max(event_id) FROM recorded)"},
	{check: "events", want: "no such event", sql: "UPDATE recorded SET event_id = 1000000 WHERE event_id = (SELECT max(event_id) FROM recorded)"},
	{check: "builds", want: "others", do: func(t *testing.T, c *chaos) {
		t.Helper()
		_, err := c.site.source.DB.Exec(t.Context(), `WITH cut AS (DELETE FROM casq.build_trace_chunks RETURNING build_id, attempt)
			UPDATE casq.build_traces AS t SET received = 0, stored = 0, checksum = 0 FROM cut WHERE (t.build_id, t.attempt) = (cut.build_id, cut.attempt)`)
		must(t, err)
	}},
	{check: "builds", want: "it says", do: func(t *testing.T, c *chaos) {
		t.Helper()
		_, err := c.site.source.DB.Exec(t.Context(), "UPDATE casq.build_traces SET checksum = 1")
		must(t, err)
	}},
	{check: "builds", want: "illegal", do: func(t *testing.T, c *chaos) {
		t.Helper()
		for _, token := range []string{"one", "another"} {
			c.farm.History.Picked(time.Now(), 1, token)
		}
	}},
	{check: "builds", want: "stands still", do: func(t *testing.T, c *chaos) {
		t.Helper()
		_, err := c.site.source.DB.Exec(t.Context(), `WITH p AS (SELECT casq.begin_pipeline(7) AS id)
			INSERT INTO casq.builds (pipeline_id, project_id, name, status, tag_set, turn, job)
			SELECT p.id, 7, 'alone', 'created', (SELECT min(id) FROM casq.tag_sets), 1, '{}' FROM p`)
		must(t, err)
	}},
	{check: "counters", want: "the table has", do: func(t *testing.T, c *chaos) {
		t.Helper()
		_, err := c.site.source.DB.Exec(t.Context(), "UPDATE casq.counters SET items = items + 1")
		must(t, err)
	}},
	{check: "counters", want: "found a difference of 5", do: func(t *testing.T, c *chaos) {
		t.Helper()
		_, err := c.site.source.DB.Exec(t.Context(), `WITH s AS (
				INSERT INTO casq.scans (kind, all_scopes, compare, floor_timeline, floor_tick) VALUES ('artifact', false, true, 1, 1) RETURNING id)
			INSERT INTO casq.refreshes (scan, kind, scope_id, shard, state, finished_at, old_size, new_size, old_items, new_items)
			SELECT id, 'artifact', '0', 0, 'done', now(), 1, 6, 1, 1 FROM s`)
		must(t, err)
	}},
}

// TestChecksFindWhatIsWrong plays a run without faults, in which nothing may be
// found, and then breaks one part after the other.
func TestChecksFindWhatIsWrong(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a run with servers")
	}
	c := quietRun(t)
	for _, k := range checks {
		if found := c.run(t, k.name); len(found) > 0 {
			t.Errorf("%s: found without a fault: %q", k.name, found)
		}
	}
	toldOfRefsThatWentBack(t, c)
	for _, d := range damages {
		if d.do != nil {
			d.do(t, c)
		}
		if d.sql != "" {
			_, err := c.site.home.DB.Exec(t.Context(), d.sql)
			must(t, err)
		}
		if found := c.run(t, d.check); !strings.Contains(strings.Join(found, "\n"), d.want) {
			t.Errorf("%s: found %q, want %q", d.check, found, d.want)
		}
	}
	_, err := c.site.source.DB.Exec(t.Context(), "DELETE FROM casq.refreshes")
	must(t, err)
	countedAnew(t, c)
	must(t, c.report(t.Context(), []violation{{"it", kindArtifact, damagedFile}}))
	must(t, c.preserve(t.Context(), evidence))
	toldOfJobsThatStall(t, c)
}

// What keeps a run from becoming quiet is looked up while it does: which jobs there
// are, and when by the database's clock they may be fetched.
func toldOfJobsThatStall(t *testing.T, c *chaos) {
	t.Helper()
	_, err := c.site.source.DB.Exec(t.Context(), `INSERT INTO river.river_job (kind, args, max_attempts, state, scheduled_at)
		VALUES ('counter_recount', '{"scan": 4711}', 1, 'available', now() + interval '3 min')`)
	must(t, err)
	c.cfg.stall = 0
	found, err := c.quiesce(t.Context())
	must(t, err)
	if len(found) != 1 {
		t.Errorf("%d violations of a run in which nothing moves, want 1", len(found))
	}
	kept, err := os.ReadFile(c.work.path(stalled, "source-jobs.csv"))
	must(t, err)
	if !strings.Contains(string(kept), "4711") || !strings.Contains(string(kept), "scheduled_at") {
		t.Errorf("kept of the first site's jobs: %s", kept)
	}
}

// quietRun writes for a moment and waits until the second site has it all.
func quietRun(t *testing.T) *chaos {
	t.Helper()
	var out strings.Builder
	c := &chaos{workers: make(map[string]*process), cfg: config{
		seed: 1, duration: time.Second, worker: os.Args[0], out: &out, temporary: t.TempDir(), faults: []fault{}, stall: 90 * time.Second,
	}.withDefaults()}
	var err error
	c.work, err = openWorkspace(c.cfg.temporary)
	must(t, err)
	c.journal, err = openTimeline(&out, c.work.path("journal.txt"))
	must(t, err)
	t.Cleanup(func() {
		must(t, c.close())
		must(t, c.journal.close())
		t.Log("\n" + out.String())
	})
	must(t, c.start(t.Context()))
	var found []violation
	for logs := 0; logs == 0 && len(found) == 0; {
		must(t, c.storm(t.Context()))
		r := rand.New(rand.NewPCG(1, 1))
		must(t, c.writer.change(t.Context(), []string{damagedFile}, []string{damagedRepository}, func(tx pgx.Tx) error {
			if err := c.writer.putIn(t.Context(), tx, r, damagedFile); err != nil {
				return err
			}
			return c.writer.pushIn(t.Context(), tx, r, damagedRepository)
		}))
		found, err = c.quiesce(t.Context())
		must(t, err)
		// A busy machine may not come to a build's log in that moment.
		must(t, c.site.source.DB.QueryRow(t.Context(), `SELECT count(*) FROM casq.build_traces AS t JOIN casq.builds AS b ON b.id = t.build_id AND b.attempt = t.attempt
			WHERE t.received > 0 AND b.status = 'success'`).Scan(&logs))
	}
	if found = append(found, c.stopWorkers()...); len(found) > 0 {
		t.Fatalf("not quiet: %v", found)
	}
	return c
}

// A push that is taken back has left its refs for a moment, in which a copy may
// have seen them: the writer tells of that.
func toldOfRefsThatWentBack(t *testing.T, c *chaos) {
	t.Helper()
	events := func() (n int) {
		t.Helper()
		must(t, c.site.source.DB.QueryRow(t.Context(), "SELECT count(*) FROM casq.events WHERE kind = $1 AND resource_id = $2", kindRepository, damagedRepository).Scan(&n))
		return n
	}
	place := c.work.path(sourceRepositories, damagedRepository)
	want, err := c.writer.repos.refs(t.Context(), place)
	must(t, err)
	before := events()
	r := rand.New(rand.NewPCG(2, 2))
	must(t, c.writer.change(t.Context(), nil, []string{damagedRepository}, func(tx pgx.Tx) error {
		if err := c.writer.pushIn(t.Context(), tx, r, damagedRepository); err != nil {
			return err
		}
		return errRollback
	}))
	have, err := c.writer.repos.refs(t.Context(), place)
	must(t, err)
	if !maps.Equal(have, want) || events() != before+1 {
		t.Errorf("refs are %v, want %v; %d events more, want 1", have, want, events()-before)
	}
}

// Counters that are counted anew are not exact until they are recounted once.
func countedAnew(t *testing.T, c *chaos) {
	t.Helper()
	exec := func(sql string) {
		t.Helper()
		_, err := c.site.source.DB.Exec(t.Context(), sql)
		must(t, err)
	}
	recount := func(at string) {
		t.Helper()
		exec(`WITH s AS (INSERT INTO casq.scans (kind, all_scopes, compare, floor_timeline, floor_tick) VALUES ('artifact', false, true, 1, 1) RETURNING id)
			INSERT INTO casq.refreshes (scan, kind, scope_id, shard, state, requested_at, started_at, finalizing_at, finished_at, old_size, new_size, old_items, new_items)
			SELECT id, 'artifact', '0', 0, 'done', ` + at + `, ` + at + `, ` + at + `, ` + at + `, 0, 7, 0, 1 FROM s`)
	}
	differences := func() int { return strings.Count(strings.Join(c.run(t, "counters"), "\n"), "found a difference") }
	exec("UPDATE casq.counter_kinds SET generation = generation + 1 WHERE kind = 'artifact'")
	recount("clock_timestamp() + interval '1 minute'")
	if n := differences(); n != 0 {
		t.Errorf("%d differences in the first recount after counting began anew", n)
	}
	recount("clock_timestamp() + interval '2 minutes'")
	if n := differences(); n != 1 {
		t.Errorf("%d differences, want that of the second recount", n)
	}
}

func (c *chaos) run(t *testing.T, name string) (texts []string) {
	t.Helper()
	for _, k := range checks {
		if k.name != name {
			continue
		}
		found, err := k.run(t.Context(), c)
		must(t, err)
		for _, v := range found {
			texts = append(texts, v.text)
		}
		return texts
	}
	t.Fatalf("there is no check %q", name)
	return nil
}
