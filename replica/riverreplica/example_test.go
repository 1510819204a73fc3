package riverreplica_test

import (
	"context"

	"casq/replica"
	"casq/replica/riverreplica"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
)

type reportArgs struct{ Project string }

func (reportArgs) Kind() string { return "report" }

// reporter reads much, and is in no hurry.
type reporter struct {
	river.WorkerDefaults[reportArgs]

	db *replica.DB
}

func (*reporter) Middleware(*rivertype.JobRow) []rivertype.WorkerMiddleware {
	return []rivertype.WorkerMiddleware{riverreplica.Delayed{}}
}

func (r *reporter) Work(ctx context.Context, job *river.Job[reportArgs]) error {
	var n int
	return r.db.QueryRow(ctx, "SELECT count(*) FROM documents WHERE project = $1", job.Args.Project).Scan(&n)
}

// The client has the middleware, a worker says how much it wants to be on a standby.
func ExampleMiddleware() {
	newClient := func(primary *pgxpool.Pool, db *replica.DB) error {
		workers := river.NewWorkers()
		river.AddWorker(workers, &reporter{db: db})
		_, err := river.NewClient(riverpgxv5.New(primary), &river.Config{
			Workers:    workers,
			Queues:     map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}},
			Middleware: []rivertype.Middleware{&riverreplica.Middleware{DB: db}},
		})
		return err
	}
	_ = newClient
	// Output:
}
