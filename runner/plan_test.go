package runner_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"casq/internal/testing/long"
	"casq/internal/testing/runnertest"
	"casq/internal/testing/testdb"
	"casq/runner"

	"github.com/jackc/pgx/v5"
)

// planned is a session that has plans of the picks, made on what the tables had then.
type planned struct {
	made string
	conn *pgx.Conn
}

// The three sorts of runners: of all projects, of one, and one that may have so many builds.
var pickers = []string{"of all", "of one", "limited"}

// plan opens a session that executes all of them once.
func (b *bench) plan(made string) planned {
	b.t.Helper()
	conn, err := pgx.ConnectConfig(b.t.Context(), b.pool.Config().ConnConfig)
	must(b.t, err)
	b.t.Cleanup(func() { _ = conn.Close(b.t.Context()) })
	p := planned{made, conn}
	for i, sql := range runner.Picks {
		p.exec(b.t, fmt.Sprintf("PREPARE pick%d (unknown, bytea, unknown, float8, text, jsonb) AS %s", i, sql))
	}
	for i, sql := range runner.PicksTogether {
		p.exec(b.t, fmt.Sprintf("PREPARE picktogether%d (unknown, bytea[], unknown, text[], jsonb[], text[], boolean, bigint[], float8) AS %s", i, sql))
	}
	p.exec(b.t, "PREPARE waits (text[], boolean, bigint[], bigint, uuid) AS "+runner.Waits)
	b.check(p, 1000)
	return p
}

func (p planned) exec(t testing.TB, sql string) {
	t.Helper()
	_, err := p.conn.Exec(t.Context(), sql, pgx.QueryExecModeSimpleProtocol)
	must(t, err)
}

// check executes each plan as the product does, and looks at what it has read.
func (b *bench) check(p planned, most int) {
	b.t.Helper()
	for _, picker := range pickers {
		var id int64
		var hash []byte
		must(b.t, b.pool.QueryRow(b.t.Context(), "SELECT coalesce(max(id), 0), max(token_hash::text)::bytea FROM casq.runners WHERE description = $1", picker).Scan(&id, &hash))
		for i := range runner.Picks {
			b.explain(p, picker, fmt.Sprintf(`EXECUTE pick%d(%d, '\x%x', sha256('x'), 60, 's', '{}')`, i, id, hash), most)
		}
		b.checkTogether(p, picker, id, hash, most)
	}
	for _, projects := range []string{"NULL", "'{7}'"} {
		b.explain(p, "waits of "+projects, fmt.Sprintf("EXECUTE waits('{linux}', true, %s, 1, gen_random_uuid())", projects), most)
	}
}

// checkTogether does so for one request, and for as many as are picked for together: each of
// them changes a build and its indexes.
func (b *bench) checkTogether(p planned, picker string, id int64, hash []byte, most int) {
	b.t.Helper()
	projects := "NULL"
	if picker == "of one" {
		projects = "'{7}'"
	}
	for _, requests := range []int{1, 32} {
		of := func(what, kind string) string {
			return "ARRAY[" + strings.TrimSuffix(strings.Repeat(what+",", requests), ",") + "]::" + kind + "[]"
		}
		hashes := "ARRAY["
		for i := range requests {
			hashes += fmt.Sprintf("sha256('request %d'),", i)
		}
		args := strings.Join([]string{
			of(fmt.Sprint(id), "bigint"), of(fmt.Sprintf(`'\x%x'`, hash), "bytea"), strings.TrimSuffix(hashes, ",") + "]",
			of("'s'", "text"), of("'{}'", "jsonb"), "'{linux}'", "false", projects, "60",
		}, ", ")
		for i := range runner.PicksTogether {
			b.explain(p, fmt.Sprintf("%s, %d requests", picker, requests), fmt.Sprintf("EXECUTE picktogether%d(%s)", i, args), most+40*requests)
		}
	}
}

// indexes are those by which a pick may read builds.
var indexes = []string{"builds_pkey", "builds_queue", "builds_queue_of_project", "builds_of_runner"}

func (b *bench) explain(p planned, what, sql string, most int) {
	b.t.Helper()
	tx, err := p.conn.Begin(b.t.Context())
	must(b.t, err)
	_, err = tx.Exec(b.t.Context(), runner.ByIndex)
	must(b.t, err)
	var text string
	must(b.t, tx.QueryRow(b.t.Context(), "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "+sql, pgx.QueryExecModeSimpleProtocol).Scan(&text))
	must(b.t, tx.Rollback(b.t.Context()))
	var plans []struct{ Plan testdb.Plan }
	must(b.t, json.Unmarshal([]byte(text), &plans))
	plan := plans[0].Plan
	if strings.Contains(sql, "pick") && !strings.Contains(text, "$1") && !strings.Contains(text, "$8 IS NULL") {
		b.t.Errorf("plan of %s, %s: it is of these values only", p.made, what)
	}
	for _, scan := range plan.Scans("builds") {
		if !slices.Contains(indexes, scan.Index) || scan.Cond == "" {
			b.t.Errorf("plan of %s, %s: it reads builds by a %s of %q (%s)\n%s", p.made, what, scan.Type, scan.Index, scan.Cond, text)
		}
	}
	if read := plan.Hit + plan.Read; read > most {
		b.t.Errorf("plan of %s, %s: it has read %d pages, want at most %d\n%s", p.made, what, read, most, text)
	}
}

// grow adds builds before all others in the queue that no runner here takes: of other tags,
// and of another project; and some that other runners have.
func (b *bench) grow(count int) {
	b.t.Helper()
	b.exec(`INSERT INTO casq.builds (pipeline_id, project_id, name, status, tag_set, turn, job)
		SELECT b.pipeline_id, b.project_id, b.name, b.status, b.tag_set, n, b.job
		FROM casq.builds AS b, generate_series(1, $1) AS n WHERE b.name IN ('nobody', 'other')`, count/2)
	b.exec(`UPDATE casq.builds SET status = 'running', attempt = 1, token_hash = sha256(id::text::bytea), assigned_at = now(), start_by = now(),
			runner_id = (SELECT id FROM casq.runners WHERE description = 'nobody')
		WHERE name = 'nobody' AND id % 10 = 0 AND turn < 1000000`)
}

// A plan is kept for as long as its session: it has to be right whatever the tables had when
// it was made, and whatever was known of them.
func TestPlansOfPicksReadByIndexWhateverTheyWereMadeOf(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := newBench(t, runner.Options{})
	b.c.Stop()
	for _, table := range []string{"builds", "runners", "tag_sets", "projects"} {
		b.exec(fmt.Sprintf("ALTER TABLE casq.%s SET (autovacuum_enabled = off)", table))
	}
	var sessions []planned
	add := func(made string) { sessions = append(sessions, b.plan(made)) }
	check := func(state string) {
		t.Log(state)
		for _, p := range sessions {
			b.check(p, 400)
		}
	}
	add("nothing")
	for _, description := range append([]string{"nobody"}, pickers...) {
		b.exec("SELECT casq.create_runner($1, tags => '{linux}', max_running => CASE $1 WHEN 'limited' THEN 100000 END, projects => CASE $1 WHEN 'of one' THEN '{7}'::bigint[] END)", description)
	}
	for i, tags := range []string{"{nobody}", "{linux}", "{linux}"} {
		name, project := []string{"nobody", "other", "build"}[i], []int{8, 8, 7}[i]
		b.value("SELECT casq.add_build(casq.begin_pipeline($1), $2, $3, tags => $4)", project, name, runnertest.Smallest, tags)
	}
	b.exec("UPDATE casq.runners SET projects = '{9}' WHERE description = 'nobody'")
	add("three builds")
	check("three builds")
	b.grow(100_000)
	add("a table that was never analyzed")
	check("100,000 builds, never analyzed")
	b.exec("ANALYZE casq.builds, casq.runners, casq.tag_sets, casq.projects")
	add("a table that was analyzed")
	check("100,000 builds, analyzed")
	b.exec("DELETE FROM casq.builds WHERE name = 'nobody'")
	add("statistics of what is gone")
	check("half of them")
}
