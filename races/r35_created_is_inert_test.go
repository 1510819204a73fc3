package races

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"casq/counter"
	"casq/counter/recount"
	"casq/jobs"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// TestR35CreatedIsInert: a recount is asked for and nobody carries it out, while
// resources are created, changed and deleted. The request writes its own rows and
// its job, and nothing else; the values that readers see stay right for as long
// as it waits, and it ends well when somebody comes.
func TestR35CreatedIsInert(t *testing.T) {
	t.Parallel()
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s := newCounterSite(t)
		queue, err := jobs.NewQueue(s.pool, raceLog(t))
		must(t, err)
		o := s.ours(t, func(cfg *counter.Config, scans *recount.Config) {
			cfg.Jobs, scans.Jobs, cfg.FlushEvery = jobs.NewCounting(queue), jobs.NewCounting(queue), time.Hour
		})
		s.put(t, 1, 1, 300)
		s.put(t, 2, 2, 40)
		o.arrive(t)
		before := s.contents(t)
		refresh := o.ask(t, 1)[0]
		after := s.contents(t)
		var changed []string
		for _, table := range slices.Sorted(maps.Keys(after)) {
			if before[table] != after[table] {
				changed = append(changed, table)
			}
		}
		if got := strings.Join(changed, " "); got != "casq.refreshes casq.scans river.river_job" {
			t.Errorf("the request has written to %s", got)
		}
		for n := range int64(3) {
			s.put(t, 10+n, 1, 7)
			s.resize(t, 2, 50+n)
			s.remove(t, 9+n)
			o.quiesceValues(t, 1, 2)
			if state, _ := o.state(t, refresh); state != "created" {
				t.Errorf("state %s", state)
			}
		}
		must(t, o.worker.Scan(t.Context(), s.count(t, "SELECT scan FROM casq.refreshes"), 1, o.process))
		var f recount.Finalize
		var token uuid.UUID
		must(t, s.pool.QueryRow(t.Context(), "SELECT id, token FROM casq.scans").Scan(&f.Scan, &token))
		f.Token = token
		o.swap(t, f)
		o.quiesceReal(t, 1, 2)
	})
}

// contents is a sum over each of casq's tables.
func (s *counterSite) contents(t *testing.T) map[string]string {
	t.Helper()
	contents := map[string]string{}
	for table := range strings.FieldsSeq(lines(t, s.pool, `SELECT c.oid::regclass::text FROM pg_class AS c
		WHERE c.relkind = 'r' AND c.relnamespace IN ('casq'::regnamespace, 'river'::regnamespace)`)) {
		row := s.pool.QueryRow(t.Context(), "SELECT coalesce(md5(string_agg(t::text, ',' ORDER BY t::text)), '') FROM "+table+" AS t",
			pgx.QueryExecModeSimpleProtocol)
		var sum string
		must(t, row.Scan(&sum))
		contents[table] = sum
	}
	return contents
}
