package runner_test

import (
	"testing"
	"time"

	"casq/runner"
)

// A runner that is started anew for each build has another name each time.
func TestProcessesThatAreNoMoreAreForgotten(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{Hold: time.Millisecond})
	one, other := b.runner(), b.runner()
	_, err := b.pool.Exec(t.Context(), `INSERT INTO casq.runner_managers (runner_id, system_id, contacted_at)
		SELECT r.id, s.name, clock_timestamp() - s.age FROM casq.runners AS r, (VALUES
			('old', interval '8 days'), ('young', interval '6 days'), ('s_' || $1, interval '8 days')) AS s (name, age)`, one[len(one)-12:])
	must(t, err)
	b.request(one, "")
	b.c.Stop() // it writes down who was heard of
	for token, want := range map[string]int{one: 2, other: 3} {
		var count int
		must(t, b.pool.QueryRow(t.Context(), `SELECT count(*) FROM casq.runner_managers AS m JOIN casq.runners AS r ON r.id = m.runner_id
			WHERE r.token_hash = sha256(convert_to($1, 'UTF8'))`, token).Scan(&count))
		if count != want {
			t.Errorf("a runner has %d processes, want %d", count, want)
		}
	}
}

// After a failover to a server whose clock is behind, a process was heard of tomorrow: it
// would count as heard of until then, whatever becomes of it.
func TestAProcessIsNotHeardOfTomorrow(t *testing.T) {
	t.Parallel()
	b := newBench(t, runner.Options{Hold: time.Millisecond})
	one := b.runner()
	b.exec(`INSERT INTO casq.runner_managers (runner_id, system_id, contacted_at)
		SELECT id, 's_' || $1, clock_timestamp() + interval '1 day' FROM casq.runners`, one[len(one)-12:])
	b.request(one, "")
	b.c.Stop() // it writes down who was heard of
	if n := b.value("SELECT count(*) FROM casq.runner_managers WHERE contacted_at <= clock_timestamp()"); n != 1 {
		t.Errorf("%d of one process were heard of by now", n)
	}
}
