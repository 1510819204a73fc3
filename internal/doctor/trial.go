package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"casq/internal/database"

	"github.com/jackc/pgx/v5"
)

// trial is a statement that a role needs, with values that do no harm, even if they
// were committed.
type trial struct{ what, sql string }

// Where rows are written by statements that take no locks worth a word, they are; else
// the right is asked for by one that finds no row.
var workerTrials = []trial{
	{"take ticks", "SELECT casq.tick(true)"},
	{"learn of kinds", "INSERT INTO casq.kinds (kind, transfer) VALUES ('casq_doctor', 'none')"},
	{"write the registry", `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload)
		VALUES ('casq_doctor', 'x', 1, 1, 1, '{}')`},
	{"queue jobs", "INSERT INTO river.river_job (kind, max_attempts) VALUES ('casq_doctor', 1)"},
	{"fetch jobs", "UPDATE river.river_job SET state = state WHERE false"},
	{"dead-letter events", "UPDATE casq.event_failures SET kind = kind WHERE false"},
	{"count", "UPDATE casq.counters SET size = size WHERE false"},
	{"recount", "SELECT casq.has_scope('casq_doctor', 'x')"},
	{"tell of itself", "UPDATE casq.workers SET host = host WHERE false"},
	{"mark targets", "UPDATE casq.targets SET place = place WHERE false"},
	{"compare", "UPDATE casq.reconcile_runs SET reason = reason WHERE false"},
	{"prune the log", "SELECT casq.prune_events(9223372036854775806, 1)"},
	{"hand out builds", "UPDATE casq.builds SET status = status WHERE false"},
}

var followerTrials = []trial{
	{"read the log", "SELECT FROM casq.events, casq.ticks, casq.timelines, casq.kinds WHERE false"},
	{"read tracked tables", "SELECT casq.check_scopes('casq_doctor', '{}')"},
}

var reportTrials = []trial{
	{"report", "SELECT casq.report_follower('casq doctor', 0, gen_random_uuid())"},
}

const insufficientPrivilege = "42501"

// rights are those on tables that casq.grant_to gives, and this role has not: who was granted
// by hand what he seems to need may lack what is needed seldom.
func rights(ctx context.Context, tx pgx.Tx, what string) ([]string, error) {
	rows, err := tx.Query(ctx, doctorSQL.Lacking, what)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// permissions tries what a role needs, all in one transaction that is rolled back. An
// error that is not about a right says that the role has it.
func (d *doctor) permissions(ctx context.Context, subject string, s *server, what string, trials []trial) {
	var refused, open []string
	errDone := errors.New("roll back")
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '1s'; SET LOCAL statement_timeout = '3s'"); err != nil {
			return err
		}
		for _, t := range trials {
			err := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, t.sql)
				return err
			})
			switch code := database.Code(err); {
			case code == insufficientPrivilege:
				refused = append(refused, t.what)
			case err != nil && (code == "" || database.Passes(err) || code == "55P03" || code == "57014"):
				open = append(open, fmt.Sprintf("%s: %s", t.what, database.Explain(err)))
			}
		}
		lacking, err := rights(ctx, tx, what)
		if err != nil {
			return err
		}
		if len(refused) == 0 { // else those say it
			refused = lacking
		}
		return errDone
	})
	switch {
	case !errors.Is(err, errDone):
		d.skip(subject, database.Explain(err), "permissions")
	case len(refused) > 0:
		d.add(subject, "permissions", Error, fmt.Sprintf("as casq's owner there: SELECT casq.grant_to('%s', '%s')", s.role, what),
			"role %s may not %s", s.role, strings.Join(refused, ", "))
	default:
		d.ok(subject, "permissions", "%d of %d were tried, and taken back", len(trials)-len(open), len(trials))
	}
	if errors.Is(err, errDone) && len(open) > 0 {
		d.skip(subject, strings.Join(open, "; "), "some permissions")
	}
}
