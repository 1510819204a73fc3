package jobs

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"casq/eventlog"
	"casq/internal/database"
	"casq/registry"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
)

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

//go:embed orphans.sql
var orphansSQL string

// orphansPage is how many jobs of dead processes are handed on at a time.
const orphansPage = 500

// Queue inserts jobs into River. It implements [registry.Queue].
//
// mu guards kinds, which only grows: a kind's definition never changes.
type Queue struct {
	pool   *pgxpool.Pool
	client *river.Client[pgx.Tx]
	clock  database.Clock

	mu    sync.Mutex
	kinds map[string]eventlog.Kind
}

// NewQueue returns a queue that inserts into the River tables of pool.
func NewQueue(pool *pgxpool.Pool, logger *slog.Logger) (*Queue, error) {
	q := &Queue{pool: pool}
	var err error
	q.client, err = river.NewClient(riverpgxv5.New(pool), &river.Config{
		Schema:        Schema,
		Logger:        logger,
		FetchCooldown: noticeWindow,
		Test:          river.TestConfig{Time: insertClock{&q.clock}},
	})
	if err != nil {
		return nil, fmt.Errorf("open river client: %w", err)
	}
	return q, nil
}

// Insert queues jobs in tx. Never with a unique option: a job that is skipped
// because an older one waits is a lost update, while a job with a stale
// version costs nothing.
func (q *Queue) Insert(ctx context.Context, tx pgx.Tx, jobs []registry.Job, bulk bool) error {
	params := make([]river.InsertManyParams, len(jobs))
	for i, j := range jobs {
		kind, err := q.Kind(ctx, tx, j.Kind)
		if err != nil {
			return err
		}
		opts := &river.InsertOpts{Queue: kind.Queue}
		if j.Deleted {
			params[i] = river.InsertManyParams{Args: RemoveArgs{j.Kind, j.ResourceID, j.Version}, InsertOpts: opts}
		} else {
			params[i] = river.InsertManyParams{Args: SyncArgs{j.Kind, j.ResourceID, j.Version}, InsertOpts: opts}
		}
	}
	err := q.know(ctx, tx)
	if err != nil {
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

// Kind returns a kind's definition, from db when it is not known yet.
func (q *Queue) Kind(ctx context.Context, db eventlog.DB, name string) (eventlog.Kind, error) {
	q.mu.Lock()
	kind, known := q.kinds[name]
	q.mu.Unlock()
	if known {
		return kind, nil
	}
	kinds, err := eventlog.Kinds(ctx, db)
	if err != nil {
		return eventlog.Kind{}, err
	}
	q.mu.Lock()
	q.kinds = kinds
	q.mu.Unlock()
	if kind, known = kinds[name]; !known {
		return eventlog.Kind{}, fmt.Errorf("%w %q", eventlog.ErrUnknownKind, name)
	}
	return kind, nil
}

// Orphans returns a page of the jobs that River believes to be running in
// processes that are not alive, and that were not written off yet.
func (q *Queue) Orphans(ctx context.Context) (tokens []registry.Token, jobs []int64, err error) {
	rows, err := q.pool.Query(ctx, orphansSQL, orphansPage)
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

// Abandon writes jobs off whose process is dead. River only marks a running
// job as to be cancelled; its rescuer ends it an hour later. The work does not
// wait for that: it has a new job.
func (q *Queue) Abandon(ctx context.Context, jobs []int64) error {
	for _, id := range jobs {
		if _, err := q.client.JobCancel(ctx, id); err != nil && !errors.Is(err, rivertype.ErrNotFound) {
			return fmt.Errorf("cancel job %d: %w", id, err)
		}
	}
	return nil
}
