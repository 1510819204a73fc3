package view

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/await"
	"casq/internal/testing/long"

	"pgregory.net/rapid"
)

// Two transactions change two sources of one row, and neither sees the other: the image is
// that of the view after both, whichever commits first.
func TestWriteSkew(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][2]int{"renamed first": {0, 1}, "handed over first": {1, 0}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := tracked(t)
			statements := []string{`UPDATE "user" SET name = 'rob' WHERE id = 2`, `UPDATE repository SET owner_id = 2 WHERE id = 2`}
			tx := [2]interface {
				executor
				end() error
			}{}
			for i, statement := range statements {
				begun, err := b.pool.Begin(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = begun.Rollback(t.Context()) }()
				tx[i] = ending{begun, func() error { return begun.Commit(t.Context()) }}
				if err := run(t.Context(), tx[i], statement); err != nil {
					t.Fatal(err)
				}
			}
			for _, i := range order {
				if err := tx[i].end(); err != nil {
					t.Fatal(err)
				}
				b.follow(t)
			}
			b.wantSame(t)
			b.want(t, "SELECT path FROM casq.image_repository WHERE repo_id = 2", "rob/y.git")
		})
	}
}

type ending struct {
	executor
	commit func() error
}

func (e ending) end() error { return e.commit() }

// What is noted is what the queries name, and no more than has changed to the view.
func TestNotes(t *testing.T) {
	t.Parallel()
	b := tracked(t)
	note := func(want ...string) {
		t.Helper()
		b.want(t, `WITH gone AS (DELETE FROM casq.source_changes RETURNING id, source, rows)
			SELECT format('%s %s', s.name, coalesce(n.rows::text, 'any')) FROM gone AS n JOIN casq.sources AS s ON s.id = n.source ORDER BY n.id`, want...)
	}
	note()
	b.exec(t, `UPDATE repository SET stars = stars + 1; UPDATE "user" SET seen = now(); UPDATE release SET note = 'x'`)
	note()
	b.exec(t, `UPDATE repository SET name = name, bare = bare`)
	note()
	b.exec(t, `UPDATE repository SET name = 'z' WHERE id = 1; INSERT INTO release VALUES (1, 2, 10), (2, 2, 5), (3, 3, 1); DELETE FROM release WHERE id = 3; DELETE FROM release WHERE id = 99`)
	note(`public.repository [{"id": 1}]`, `public.release [{"repo_id": 2}, {"repo_id": 3}]`, `public.release [{"repo_id": 3}]`)
	b.exec(t, `UPDATE release SET repo_id = 1 WHERE id = 1; DELETE FROM "user" WHERE id = 1; TRUNCATE release`)
	note(`public.release [{"repo_id": 1}, {"repo_id": 2}]`, `public."user" [{"id": 1}]`, `public.release any`)
}

// Rows come, change and go by any of the sources; keys move on, in circles and in rows.
func TestImageFollowsTheView(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := tracked(t)
	for _, step := range []struct {
		sql  string
		want []string
	}{
		{`UPDATE "user" SET name = 'anna' WHERE id = 1`, []string{
			"deleted ann/x.git 1 0 -1 | anna/x.git", "deleted ann/y.git 1 0 -1 | anna/y.git", "created anna/x.git 1 0 1 | ann/x.git", "created anna/y.git 1 0 1 | ann/y.git"}},
		{`INSERT INTO release VALUES (1, 2, 10)`, []string{"updated anna/y.git 1 10 0"}},
		{`UPDATE repository SET owner_id = 2 WHERE id = 2`, []string{"deleted anna/y.git 1 -10 -1 | bob/y.git", "created bob/y.git 2 10 1 | anna/y.git"}},
		{`UPDATE repository SET name = CASE name WHEN 'x' THEN 'y' ELSE 'x' END WHERE owner_id = 2`, []string{
			"deleted bob/x.git 2 0 0 | bob/y.git", "created bob/x.git 2 10 0 | bob/y.git", "deleted bob/y.git 2 0 0 | bob/x.git", "created bob/y.git 2 -10 0 | bob/x.git"}},
		{`UPDATE repository SET bare = true WHERE id = 3`, []string{"updated bob/y.git 2 0 0"}},
		{`DELETE FROM "user" WHERE id = 2`, []string{"deleted bob/x.git 2 -10 -1", "deleted bob/y.git 2 0 -1"}},
		{`INSERT INTO "user" VALUES (2, 'bob')`, []string{"created bob/x.git 2 10 1", "created bob/y.git 2 0 1"}},
		{`TRUNCATE repository, release`, []string{"deleted anna/x.git 1 0 -1", "deleted bob/x.git 2 -10 -1", "deleted bob/y.git 2 0 -1"}},
	} {
		b.exec(t, step.sql)
		b.follow(t)
		b.wantSame(t)
		got := b.events(t)
		for _, line := range step.want {
			if !strings.Contains(strings.Join(got, "\n")+"\n", line+"\n") {
				t.Errorf("%s: events\n\t%s\nlack %s", step.sql, strings.Join(got, "\n\t"), line)
			}
		}
		if len(got) != len(step.want) {
			t.Errorf("%s: events\n\t%s\nwant %d", step.sql, strings.Join(got, "\n\t"), len(step.want))
		}
	}
}

// A chain of keys that is longer than a batch may follow, each id taking the key of the next
// one, ends as the view, and so does a circle.
func TestChainOfKeys(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t, forge, `INSERT INTO "user" VALUES (1, 'ann'); INSERT INTO repository SELECT n, 1, n::text FROM generate_series(1, 300) AS n`, trackRepos)
	b.follow(t)
	b.wantSame(t)
	b.exec(t, `UPDATE repository SET name = ((name::int % 300) + 1)::text`)
	b.follow(t)
	b.follow(t)
	b.wantSame(t)
	// One by one, each in a transaction of its own, and read when all is done.
	for i := range 60 {
		b.exec(t, fmt.Sprintf(`UPDATE repository SET name = 'x' || (name::int + 1) WHERE id = %d`, i+1))
	}
	b.exec(t, `UPDATE repository SET name = (substr(name, 2)::int - 1)::text WHERE id <= 60`)
	b.follow(t)
	b.wantSame(t)
}

// The view has a key twice: the second id is told of, and comes right when it can.
func TestKeyTwice(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := tracked(t)
	b.exec(t, `UPDATE repository SET name = 'x' WHERE id = 2`)
	b.follow(t)
	b.wantEvents(t, "deleted ann/y.git 1 0 -1")
	b.want(t, "SELECT format('%s %s', id, reason) FROM casq.view_ids", "2 its key is 'ann/x.git', which another row of the view has, too")
	b.want(t, "SELECT what FROM casq.problems_of_views()", "1 rows of view public.repos are not followed, such as that of id 2: its key is 'ann/x.git', which another row of the view has, too")
	b.exec(t, `UPDATE repository SET name = 'y' WHERE id = 1`)
	b.follow(t)
	b.wantEvents(t, "deleted ann/x.git 1 0 -1 | ann/y.git", "created ann/y.git 1 0 1 | ann/x.git", "created ann/x.git 1 0 1")
	b.wantSame(t)
	b.exec(t, `UPDATE repository SET name = '' WHERE id = 2; UPDATE "user" SET name = repeat('x', 1100) WHERE id = 2`)
	b.follow(t)
	b.want(t, "SELECT format('%s %s', id, reason) FROM casq.view_ids", "3 its key has 1106 bytes, and 1 to 1024 is what a key may have")
	b.exec(t, `UPDATE "user" SET name = 'bob' WHERE id = 2; CREATE OR REPLACE VIEW repos AS
		SELECT r.id AS repo_id, NULLIF(u.name || '/' || r.name || '.git', 'ann/.git') AS path, r.owner_id, r.bare,
		       (SELECT coalesce(sum(l.size), 0) FROM release AS l WHERE l.repo_id = r.id) AS size
		FROM repository AS r JOIN "user" AS u ON u.id = r.owner_id`)
	b.follow(t)
	b.want(t, "SELECT format('%s %s', id, reason) FROM casq.view_ids", "2 its key has no bytes, and 1 to 1024 is what a key may have")
	b.exec(t, `DELETE FROM repository WHERE id = 2`)
	b.follow(t)
	b.wantSame(t)
}

// Whatever two users at once do to the sources, and however it is read, the image becomes the view.
func TestAnyChanges(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := tracked(t)
	b.exec(t, `UPDATE repository SET name = name || id`) // no key is ever twice
	rapid.Check(t, func(rt *rapid.T) {
		for range rapid.IntRange(1, 6).Draw(rt, "statements") {
			id, owner := rapid.IntRange(1, 6).Draw(rt, "id"), rapid.IntRange(1, 3).Draw(rt, "owner")
			name := rapid.SampledFrom([]string{"x", "y", "z", "w"}).Draw(rt, "name")
			sql := rapid.SampledFrom([]string{
				fmt.Sprintf(`INSERT INTO repository VALUES (%d, %d, '%s%d') ON CONFLICT (id) DO UPDATE SET owner_id = excluded.owner_id`, id, owner, name, id),
				fmt.Sprintf(`UPDATE repository SET name = '%s%d' WHERE id = %d`, name, id, id),
				`UPDATE repository SET name = chr(219 - ascii(name)) || substr(name, 2)`,
				fmt.Sprintf(`DELETE FROM repository WHERE id = %d`, id),
				fmt.Sprintf(`INSERT INTO "user" VALUES (%d, '%s%d') ON CONFLICT (id) DO UPDATE SET name = excluded.name`, owner, name, owner),
				fmt.Sprintf(`DELETE FROM "user" WHERE id = %d`, owner),
				fmt.Sprintf(`INSERT INTO release VALUES (%d, %d, %d) ON CONFLICT (id) DO UPDATE SET repo_id = excluded.repo_id, size = excluded.size`, owner, id, id*owner),
				fmt.Sprintf(`DELETE FROM release WHERE repo_id = %d`, id),
			}).Draw(rt, "sql")
			if err := run(t.Context(), b.pool, sql); err != nil {
				rt.Fatalf("%s: %v", sql, err)
			}
			if rapid.Bool().Draw(rt, "read") {
				b.apply(t)
			}
		}
		b.follow(t)
		b.wantSame(rt)
	})
}

// A tick is taken for what was noted, and none while nothing is; what was noted is nobody
// else's backlog.
func TestTickForNotes(t *testing.T) {
	t.Parallel()
	b := tracked(t)
	b.exec(t, `SELECT casq.tick(true)`)
	b.exec(t, `INSERT INTO casq.cursors (name, system_identifier, timeline, timeline_id, tick, nonce)
		SELECT n, l.system_identifier, l.timeline, l.id, k.id, k.nonce FROM casq.timelines AS l, (SELECT * FROM casq.ticks ORDER BY id DESC LIMIT 1) AS k, unnest('{views,other}'::text[]) AS n`)
	const tick = "SELECT (casq.tick() IS NOT NULL)::text"
	b.want(t, tick, "false")
	b.exec(t, `UPDATE repository SET stars = 3`)
	b.want(t, tick, "false")
	b.exec(t, `UPDATE repository SET name = 'z' WHERE id = 1`)
	b.want(t, tick, "true")
	b.want(t, tick, "false")
	b.want(t, "SELECT format('%s %s %s', name, lag_events, casq.log_age(c) > 0) FROM casq.cursor_status JOIN casq.cursors AS c USING (name) ORDER BY name", "other 0 f", "views 1 t")
	b.follow(t)
	b.want(t, "SELECT format('%s %s', name, lag_events) FROM casq.cursor_status ORDER BY name", "other 2", "views 1") // events; its position is this test's own
}

// One row of a source leads to more ids than are evaluated at once: they come by and by, and
// followers of other views do not wait for it.
func TestManyIDs(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t, forge, `INSERT INTO "user" VALUES (1, 'ann'); INSERT INTO repository SELECT n, 1, n::text FROM generate_series(1, 5000) AS n`, trackRepos)
	b.follow(t)
	b.exec(t, `UPDATE "user" SET name = 'anna'`)
	b.want(t, "SELECT count(*)::text FROM casq.source_changes", "1")
	b.apply(t)
	b.want(t, "SELECT waiting::text FROM casq.view_status", "3000")
	b.follow(t)
	b.wantSame(t)
}

// While nothing happens nothing is written, however often it is looked at.
func TestIdle(t *testing.T) {
	t.Parallel()
	b := tracked(t)
	look := func() {
		t.Helper()
		if err := b.keeper.watch(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.keeper.round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	look()
	const rows = "SELECT format('%s %s', xmin, xmax) FROM casq.sources UNION ALL SELECT format('%s %s', xmin, xmax) FROM casq.views"
	before := b.lines(t, rows)
	look()
	b.want(t, rows, before...)
}

// Ticks are heard of, and not only polled for.
func TestTicksAreListenedTo(t *testing.T) {
	t.Parallel()
	b := tracked(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, Config{Home: b.pool, Logger: slog.New(slog.DiscardHandler)}) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	await.Row(t, 30*time.Second, b.pool, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND query = 'LISTEN casq_tick')")
}
