package jobs

import (
	"encoding/json"
	"errors"
	"strconv"
	"testing"

	"casq/internal/audit"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// ask queues a request, and returns the arguments that its job has.
func (b *testBundle) ask(t *testing.T, args RequestArgs) (job int64, stored RequestArgs) {
	t.Helper()
	args.Request = audit.Request{ID: uuid.New(), Actor: "eve", Via: "page", Action: "resync"}
	ctx := audit.With(t.Context(), args.Request)
	err := pgx.BeginFunc(ctx, b.pool, func(tx pgx.Tx) (err error) {
		job, err = b.queue.InsertRequest(ctx, tx, args)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.pool.QueryRow(t.Context(), "SELECT args FROM river.river_job WHERE id = $1", job).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	return job, stored
}

// carryOut works on a job as River hands it out.
func (b *workBundle) carryOut(t *testing.T, job int64) error {
	t.Helper()
	row := &rivertype.JobRow{ID: job, Attempt: 1}
	var args RequestArgs
	if err := b.pool.QueryRow(t.Context(), "SELECT args, args FROM river.river_job WHERE id = $1", job).Scan(&row.EncodedArgs, &args); err != nil {
		t.Fatal(err)
	}
	return (&operator{w: b.worker}).Work(t.Context(), &river.Job[RequestArgs]{JobRow: row, Args: args})
}

// failedRows are three that have failed, two of them for the same reason.
func (b *testBundle) failedRows(t *testing.T) {
	t.Helper()
	b.exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, version, failed_version, payload, failure_reason)
		SELECT 'resource', key, 1, 1, 1, v, v + 0, '{}', reason
		FROM (SELECT *, nextval('casq.registry_version') AS v FROM (VALUES ('p', 'full'), ('q', 'full'), ('r', NULL)) AS r (key, reason)) AS r`)
}

func (b *testBundle) text(t *testing.T, sql string, args ...any) (text string) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), sql, args...).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}

const stillFailed = "SELECT coalesce(string_agg(resource_id, ' ' ORDER BY resource_id), '') FROM casq.registry WHERE failed_version = version"

// A group of failures is asked for again, and no other; the row of the request counts what
// it has touched. Done a second time, as after a crash, it touches nothing.
func TestARequestTakesUpAGroupOfFailuresOnce(t *testing.T) {
	t.Parallel()
	b := setupWork(t, &mover{})
	b.failedRows(t)
	reason := "full"
	job, args := b.ask(t, RequestArgs{Action: Resync, OfKind: "resource", FailedOnly: true, Reason: &reason})
	for range 2 {
		if err := b.carryOut(t, job); err != nil {
			t.Fatal(err)
		}
		// The copies fail again.
		b.exec(t, "UPDATE casq.registry SET failed_version = version, failure_reason = 'full' WHERE resource_id IN ('p', 'q')")
	}
	if got := b.text(t, "SELECT concat_ws(' ', changed ->> 'registry', job = $2) FROM casq.audit WHERE id = $1", args.Request.ID, job); got != "2 t" {
		t.Errorf("touched %s", got)
	}
	unknown := "unknown"
	job, _ = b.ask(t, RequestArgs{Action: Resync, OfKind: "resource", FailedOnly: true, Reason: &unknown})
	if err := b.carryOut(t, job); err != nil {
		t.Fatal(err)
	}
	if got := b.text(t, stillFailed); got != "p q" {
		t.Errorf("failed: %q", got)
	}
}

// All of a kind that is in place is verified, and the row counts the jobs.
func TestARequestVerifiesAKind(t *testing.T) {
	t.Parallel()
	b := setupWork(t, &mover{})
	b.failedRows(t)
	b.exec(t, "UPDATE casq.registry SET failed_version = NULL, synced_version = version WHERE resource_id IN ('p', 'r')")
	job, args := b.ask(t, RequestArgs{Action: Verify, OfKind: "resource"})
	if err := b.carryOut(t, job); err != nil {
		t.Fatal(err)
	}
	if got := b.text(t, "SELECT changed ->> 'river_job' FROM casq.audit WHERE id = $1", args.Request.ID); got != "3" {
		t.Errorf("%s jobs: want its own, and two verifications", got)
	}
}

// The rest of a request whose process is dead is another job's, of which its row tells.
func TestARequestOfADeadProcessIsHandedOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job, args := b.ask(t, RequestArgs{Action: Resync, OfKind: "resource"})
	b.exec(t, "UPDATE river.river_job SET state = 'running', attempt = 1, attempted_by = ARRAY[$1::text]", uuid.NewString())
	if _, _, err := b.queue.Orphans(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := b.text(t, `SELECT string_agg(concat_ws(' ', j.state, j.args ->> 'before' = $1::text, j.id - $2, a.job IS NOT NULL), '; ' ORDER BY j.id)
		FROM river.river_job AS j LEFT JOIN casq.audit AS a ON a.job = j.id`, strconv.FormatInt(args.Before, 10), job)
	if want := "cancelled t 0 f; available t 1 t"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// An action of a newer program is left to it: it is neither ended nor called a failure.
func TestAnUnknownActionIsLeft(t *testing.T) {
	t.Parallel()
	b := setupWork(t, &mover{})
	job, _ := b.ask(t, RequestArgs{Action: "dance"})
	err := b.carryOut(t, job)
	if snooze, ok := errors.AsType[*river.JobSnoozeError](err); !ok || snooze.Duration <= 0 {
		t.Errorf("the error is %v", err)
	}
}

// Whoever may write into River's table makes nobody ask for anything: what a job says
// counts where its request says the same, which only a worker's role can have written.
func TestAJobThatNobodyAskedForIsNotCarriedOut(t *testing.T) {
	t.Parallel()
	b := setupWork(t, &mover{})
	b.failedRows(t)
	forge := func(asked string, args RequestArgs) int64 {
		t.Helper()
		var job int64
		err := b.pool.QueryRow(t.Context(), `WITH said AS MATERIALIZED (SELECT set_config('casq.asked', $1, true))
			INSERT INTO river.river_job (args, kind, max_attempts, queue, state, attempt, attempted_by)
			SELECT $2, 'casq_request', 25, 'casq_requests', 'running', 1, ARRAY['a dead process'] FROM said RETURNING id`, asked, args).Scan(&job)
		if err != nil {
			t.Fatal(err)
		}
		return job
	}
	theirs := audit.Request{ID: uuid.New(), Actor: "alice", Via: "page", Action: "verify"}
	said, err := json.Marshal(theirs)
	if err != nil {
		t.Fatal(err)
	}
	job, args := b.ask(t, RequestArgs{Action: Verify, OfKind: "resource"})
	b.exec(t, `UPDATE river.river_job SET args = args || '{"action": "resync"}' WHERE id = $1`, job)
	args.Action = Resync
	for name, forged := range map[string]int64{
		"in nobody's name":       forge("", RequestArgs{Request: theirs, Action: Resync, OfKind: "resource", Before: 1 << 40}),
		"in a session's name":    forge(string(said), RequestArgs{Request: theirs, Action: Resync, OfKind: "resource", Before: 1 << 40}),
		"in the name of another": forge("", args),
		"changed":                job,
	} {
		if err := b.carryOut(t, forged); !errors.Is(err, river.JobCancel(nil)) {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
	if _, _, err := b.queue.Orphans(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.text(t, "SELECT string_agg(DISTINCT state::text, ' ') FROM river.river_job WHERE kind = 'casq_request' AND id <> $1", job); got != "cancelled" {
		t.Errorf("of dead processes they become %s", got)
	}
	if got := b.text(t, stillFailed); got != "p q r" {
		t.Errorf("failed are %q", got)
	}
}
