// Package buildfarm adds builds, and runs them by runners of its own, while faults are injected:
// pipelines whose builds need each other are added, canceled and tried again; runners ask
// two processes, lose answers, die in the middle of a build and come back. At the end it is
// checked that each build came to its end, that one attempt at it was live at a time, and
// that what it has left is what was sent.
package buildfarm

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"casq/internal/database"
	"casq/internal/pause"
	"casq/internal/testing/buildhistory"
	"casq/internal/testing/runnerclient"
	"casq/runner"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// Options of [New].
type Options struct {
	DB           *pgxpool.Pool // at the primary, whichever that is
	Coordinators []string      // their URLs
	Folder       string        // where the coordinators keep files
	Seed         uint64
	Limits       buildhistory.Limits
	// Complain is told of what does not hold, while it does not.
	Complain func(format string, args ...any)
	// Passes tells whether an error is the end of a connection, or of a server.
	Passes func(error) bool
}

// Farm is one run.
type Farm struct {
	Options
	// History is of all builds. Whoever replaces the database adds that.
	History *buildhistory.History

	transport *http.Transport
	machines  sync.WaitGroup
	halt      context.CancelFunc

	mu     sync.Mutex // guards the rest
	builds []int64
	jobs   map[string]*runnerclient.Job // by token
	files  map[string][]byte            // what was uploaded, by SHA-256
	died   int
}

const (
	addEvery    = 200 * time.Millisecond
	changeEvery = 250 * time.Millisecond
	lookEvery   = 150 * time.Millisecond
	forgeID     = 900 // the first of three projects; no other table has it
	limitOfOne  = 4   // how many builds the last one may have running
)

// New makes the runners, which ask from then on, until Halt.
func New(ctx context.Context, o Options) (*Farm, error) {
	f := &Farm{
		Options: o, History: buildhistory.New(), transport: &http.Transport{MaxIdleConnsPerHost: 100},
		jobs: make(map[string]*runnerclient.Job), files: make(map[string][]byte),
	}
	_, err := o.DB.Exec(ctx, "INSERT INTO casq.projects (id, max_running) VALUES ($1, $2)", forgeID+2, limitOfOne)
	if err != nil {
		return nil, fmt.Errorf("limit a project: %w", err)
	}
	asking, halt := context.WithCancel(context.WithoutCancel(ctx))
	f.halt = halt
	for i := range processes {
		if err := f.startProcess(ctx, asking, i); err != nil {
			f.Halt()
			return nil, err
		}
	}
	return f, nil
}

// Halt ends the runners. It may be called again.
func (f *Farm) Halt() {
	f.halt()
	f.machines.Wait()
	f.transport.CloseIdleConnections()
}

// Run adds builds, cancels and retries some, and looks for pipelines that stand still,
// until stop is closed.
func (f *Farm) Run(ctx context.Context, stop <-chan struct{}) error {
	group, ctx := errgroup.WithContext(ctx)
	for i, activity := range []struct {
		every time.Duration
		do    func(context.Context, *rand.Rand) error
	}{{addEvery, f.add}, {changeEvery, f.change}, {lookEvery, f.look}} {
		r := rand.New(rand.NewPCG(f.Seed, 1<<33+uint64(i)))
		group.Go(func() error {
			for {
				if err := activity.do(ctx, r); err != nil && !f.Passes(err) {
					return err
				}
				select {
				case <-stop:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				case <-time.After(activity.every/2 + rand.N(activity.every)):
				}
			}
		})
	}
	return group.Wait()
}

var job = json.RawMessage(`{"steps":[{"name":"script","script":["make"]}],"artifacts":[{"paths":["out"]}]}`)

// add commits a pipeline: each of its builds may need any that are before it.
func (f *Farm) add(ctx context.Context, r *rand.Rand) error {
	p := runner.Pipeline{Project: forgeID + r.Int64N(3)}
	for i := range 1 + r.IntN(6) {
		b := runner.Build{Name: fmt.Sprint(i), Job: job, Tags: [][]string{nil, {"linux"}, {"linux", "large"}}[r.IntN(3)], AllowFailure: r.IntN(8) == 0, Priority: r.IntN(2)}
		for n := range i {
			if r.IntN(3) == 0 {
				b.Needs = append(b.Needs, fmt.Sprint(n))
			}
		}
		p.Builds = append(p.Builds, b)
	}
	var ids []int64
	err := pgx.BeginFunc(ctx, f.DB, func(tx pgx.Tx) (err error) {
		_, ids, err = runner.Enqueue(ctx, tx, p)
		return err
	})
	if err != nil {
		return fmt.Errorf("add a pipeline: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.builds = append(f.builds, ids...)
	return nil
}

// change cancels one of the newest builds, or tries it again, as people do.
func (f *Farm) change(ctx context.Context, r *rand.Rand) error {
	const newest = 60
	f.mu.Lock()
	some := f.builds[max(0, len(f.builds)-newest):]
	f.mu.Unlock()
	if len(some) == 0 {
		return nil
	}
	build, call := some[r.IntN(len(some))], "retry"
	if r.IntN(3) == 0 {
		call = "cancel"
	}
	var status string
	asked := time.Now()
	err := f.DB.QueryRow(ctx, "SELECT casq."+call+"_build($1)", build).Scan(&status)
	outcome := buildhistory.Accepted
	switch {
	case err != nil && f.Passes(err):
		outcome = buildhistory.Unknown
	case err != nil && !refusal(err):
		return fmt.Errorf("%s build %d: %w", call, build, err)
	case err != nil:
		outcome = buildhistory.Refused
	}
	if call == "retry" {
		f.History.Retried(asked, build, outcome)
	} else {
		f.History.Canceled(asked, build, status == "canceled", outcome)
	}
	return nil
}

// refusal tells whether a build was not in the state for it; or there is no such build
// any more, after commits were lost; or Postgres has ended a deadlock.
func refusal(err error) bool {
	const notInState, noData, deadlock, serialization = "55000", "P0002", "40P01", "40001"
	switch database.Code(err) {
	case notInState, noData, deadlock, serialization:
		return true
	}
	return false
}

// look complains when a pipeline stands still: none may, at any time.
func (f *Farm) look(ctx context.Context, _ *rand.Rand) error {
	stuck, err := f.stuck(ctx)
	for _, text := range stuck {
		f.Complain("%s", text)
	}
	return err
}

func (f *Farm) stuck(ctx context.Context) (all []string, err error) {
	rows, err := f.DB.Query(ctx, "SELECT pipeline_id, build FROM casq.stuck_pipelines")
	if err != nil {
		return nil, fmt.Errorf("look for pipelines that stand still: %w", err)
	}
	var pipeline, build int64
	_, err = pgx.ForEachRow(rows, []any{&pipeline, &build}, func() error {
		all = append(all, fmt.Sprintf("pipeline %d stands still: build %d waits, and no build of it is in the queue or runs", pipeline, build))
		return nil
	})
	return all, err
}

const openSQL = `SELECT count(*) FROM casq.builds WHERE finished_at IS NULL`

// Open is how many builds have not ended.
func (f *Farm) Open(ctx context.Context) (n int, err error) {
	if err := f.DB.QueryRow(ctx, openSQL).Scan(&n); err != nil {
		return 0, fmt.Errorf("count builds that have not ended: %w", err)
	}
	return n, nil
}

// sleep waits for a time up to d.
func sleep(ctx context.Context, d time.Duration) { _ = pause.For(ctx, rand.N(d)) }
