package jobs

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/internal/queries"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
)

//go:embed queue.sql
var queueText string

// queueSQL has the statements of queue.sql.
var queueSQL = queries.Parse[struct{ Orphans, OrphanChecks, RequestHasJob, IsOfRequest, Abandon, Ahead, Mine, Queues, KnownQueues, MakeQueues, Resource string }]("jobs/queue", queueText)

// Schema is where River's tables are.
const Schema = "river"

// FetchCooldown is how soon a client fetches again: with the default of 100 ms the
// median from commit to start of a job was 47 ms, with 5 ms 31 ms.
const FetchCooldown = 5 * time.Millisecond

// noticeWindow is the cooldown of clients that only insert, where it is the window
// of River's limiter on its own NOTIFY: a transaction that is rolled back eats the
// notice of the next one, if that comes within it. It is the shortest that River
// takes.
const noticeWindow = time.Millisecond

// FetchPollInterval bounds the wait for a job whose notice was lost. Each queue of
// each worker asks so often: at 100 ms, 200 kinds were 1,900 transactions a second
// while nothing happened.
const FetchPollInterval = time.Second

// ReindexerIndexNames are the indexes that River rebuilds now and then: those that
// it does by default, but its two GIN indexes, which casq's migrations drop.
func ReindexerIndexNames() []string {
	return slices.DeleteFunc(river.ReindexerIndexNamesDefault(), func(name string) bool {
		return name == "river_job_args_index" || name == "river_job_metadata_index"
	})
}

// orphansPage is how many jobs of dead processes are handed on at a time.
const orphansPage = 500

// Queue inserts jobs into River. It implements [registry.Queue].
//
// It keeps no kinds: one that is dropped, and defined anew, may have another queue,
// and nobody serves the one that it had.
type Queue struct {
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
	clock  database.Clock
}

// NewQueue returns a queue that inserts into the River tables of pool. Plugins are those of
// the River client that inserts.
func NewQueue(pool *pgxpool.Pool, logger *slog.Logger, plugins ...rivertype.Plugin) (*Queue, error) {
	q := &Queue{pool: pool}
	var err error
	q.client, err = river.NewClient(riverpgxv5.New(pool), &river.Config{
		Schema:        Schema,
		Logger:        logger,
		FetchCooldown: noticeWindow,
		Plugins:       plugins,
		Test:          river.TestConfig{Time: insertClock{&q.clock}},
	})
	if err != nil {
		return nil, fmt.Errorf("open river client: %w", err)
	}
	return q, nil
}

// River is the client that the queue inserts with, for River's own pages.
func (q *Queue) River() *river.Client[pgx.Tx] { return q.client }

// Insert queues jobs in tx. Never with a unique option: a job that is skipped
// because an older one waits is a lost update, while a job with a stale
// version costs nothing.
func (q *Queue) Insert(ctx context.Context, tx pgx.Tx, jobs []registry.Job, bulk bool) error {
	kinds, err := eventlog.Kinds(ctx, tx)
	if err != nil {
		return err
	}
	later := &quieted{}
	if bulk { // of the log
		jobs, later = takeQuiet(jobs, kinds)
		if len(later.jobs) > 0 {
			if err := later.rewrite(ctx, tx); err != nil {
				return err
			}
		}
		jobs = append(jobs, later.jobs...)
	}
	if err := q.insert(ctx, tx, jobs, kinds, bulk); err != nil {
		return err
	}
	return later.delay(ctx, tx)
}

func (q *Queue) insert(ctx context.Context, tx pgx.Tx, jobs []registry.Job, kinds map[string]eventlog.Kind, bulk bool) (err error) {
	if len(jobs) == 0 {
		return nil
	}
	params := make([]river.InsertManyParams, len(jobs))
	for i, j := range jobs {
		kind, known := kinds[j.Kind]
		if !known {
			return fmt.Errorf("%w %q", eventlog.ErrUnknownKind, j.Kind)
		}
		opts := &river.InsertOpts{Queue: kind.Queue, Priority: priority(j.Urgency)}
		if j.Deleted {
			params[i] = river.InsertManyParams{Args: RemoveArgs{j.Kind, j.ResourceID, j.Version}, InsertOpts: opts}
		} else {
			params[i] = river.InsertManyParams{Args: SyncArgs{j.Kind, j.ResourceID, j.Version}, InsertOpts: opts}
		}
	}
	if err := q.know(ctx, tx); err != nil {
		return err
	}
	if bulk {
		_, err = q.client.InsertManyFastTx(ctx, tx, params)
	} else {
		_, err = q.client.InsertManyTx(ctx, tx, params)
	}
	if err != nil {
		return fmt.Errorf("insert %d jobs: %w", len(jobs), err)
	}
	return nil
}

// priority is River's for an urgency: it fetches the lowest first, and strictly so.
func priority(u registry.Urgency) int { return int(u) + river.PriorityDefault }

// Orphans returns a page of the jobs that River believes to be running in
// processes that are not alive, and that were not written off yet. Verifications it
// hands on by itself.
func (q *Queue) Orphans(ctx context.Context) (tokens []registry.Token, jobs []int64, err error) {
	if err := q.handOnChecks(ctx); err != nil {
		return nil, nil, fmt.Errorf("hand on verifications of dead processes: %w", err)
	}
	rows, err := q.pool.Query(ctx, queueSQL.Orphans, orphansPage)
	if err != nil {
		return nil, nil, fmt.Errorf("list jobs of dead processes: %w", err)
	}
	var id int64
	var t registry.Token
	_, err = pgx.ForEachRow(rows, []any{&id, &t.Kind, &t.ResourceID, &t.Version}, func() error {
		tokens, jobs = append(tokens, t), append(jobs, id)
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list jobs of dead processes: %w", err)
	}
	return tokens, jobs, nil
}

// Abandon writes jobs off that nobody works on, and ends them. River would only
// mark what is running as to be cancelled, and end it when its time is over: until
// then a dead process would be seen at work. The work itself has a new job.
func (q *Queue) Abandon(ctx context.Context, jobs []int64) error {
	return abandon(ctx, q.pool, jobs)
}

func abandon(ctx context.Context, db interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}, jobs []int64,
) error {
	if _, err := db.Exec(ctx, queueSQL.Abandon, jobs); err != nil {
		return fmt.Errorf("end %d jobs that nobody works on: %w", len(jobs), err)
	}
	return nil
}

// handOnChecks hands on verifications of dead processes: no row of the registry
// tells of them.
func (q *Queue) handOnChecks(ctx context.Context) error {
	return pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, queueSQL.OrphanChecks, orphansPage)
		if err != nil {
			return err
		}
		type orphan struct {
			ID   int64
			Kind string
			Args []byte
		}
		orphans, err := pgx.CollectRows(rows, pgx.RowToStructByPos[orphan])
		if err != nil {
			return err
		}
		for _, o := range orphans {
			if err := q.handOnRowless(ctx, tx, o.ID, o.Kind, o.Args); err != nil {
				return err
			}
		}
		return nil
	})
}

// handOnRowless hands on a job that no row of the registry tells of.
func (q *Queue) handOnRowless(ctx context.Context, tx pgx.Tx, job int64, kind string, encoded []byte) error {
	if kind == (RequestArgs{}).Kind() {
		var args RequestArgs
		if err := json.Unmarshal(encoded, &args); err != nil {
			return fmt.Errorf("read the arguments of job %d: %w", job, err)
		}
		return q.handOnRequest(ctx, tx, job, args, encoded)
	}
	var args VerifyArgs
	if err := json.Unmarshal(encoded, &args); err != nil {
		return fmt.Errorf("read the arguments of job %d: %w", job, err)
	}
	return q.handOnCheck(ctx, tx, job, args)
}

// handOnCheck queues a verification again, as another job, and writes this one off.
// One of a kind that is not defined any more has nothing left to verify, and must
// not be in the way of the others.
func (q *Queue) handOnCheck(ctx context.Context, tx pgx.Tx, job int64, args VerifyArgs) error {
	err := q.insertChecks(ctx, tx, []registry.Token{args.token()}, args.Contested, time.Time{})
	if err != nil && !errors.Is(err, eventlog.ErrUnknownKind) {
		return err
	}
	return abandon(ctx, tx, []int64{job})
}
