package races

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"casq/counter"
	"casq/counter/recount"
	casqdb "casq/internal/database"
	"casq/internal/redisurl"
	"casq/internal/testing/testproc"
	"casq/races/refreshkey"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

const (
	countingChild = "counting"
	countingEnded = "ended"
)

// countingSpec is one job of a counter in a process of its own, which freezes
// when it first comes to a point. The test thaws it, or kills it there.
type countingSpec struct {
	URL, Redis string
	At         string
	Twin       bool   // of the published counters
	Job        string // flush, scan or finalize
	Scan       int64
	Token      uuid.UUID
	Process    uuid.UUID
}

// child starts the job and returns when it is frozen.
func (s *counterSite) child(t *testing.T, spec countingSpec) *testproc.Process {
	t.Helper()
	spec.URL, spec.Redis = s.url, s.redis.URL()
	encoded, err := json.Marshal(spec)
	must(t, err)
	p := testproc.Start(t, countingChild, string(encoded))
	p.AwaitFrozen("frozen at " + spec.At)
	return p
}

// goOn thaws a child and returns when its job has ended.
func goOn(p *testproc.Process) {
	p.Thaw()
	p.Await(countingEnded)
}

func countingMain(args []string) error {
	var spec countingSpec
	if err := json.Unmarshal([]byte(args[0]), &spec); err != nil {
		return err
	}
	ctx := context.Background()
	pool, err := casqdb.Open(ctx, spec.URL, casqdb.Options{SearchPath: "public"})
	if err != nil {
		return err
	}
	defer pool.Close()
	client, err := redisurl.Open(spec.Redis)
	if err != nil {
		return err
	}
	defer client.Close()
	if spec.Twin {
		err = spec.twin(ctx, pool, client)
	} else {
		err = spec.ours(ctx, pool, client)
	}
	if err != nil {
		// It comes too late and may well fail: what counts is what it has done.
		testproc.Say(err.Error())
	}
	testproc.Say(countingEnded)
	return nil
}

func (spec countingSpec) hook() func(string) {
	frozen := false
	return func(point string) {
		if point == spec.At && !frozen {
			frozen = true
			testproc.Freeze("frozen at " + point)
		}
	}
}

var errNoJob = errors.New("no such job")

func (spec countingSpec) twin(ctx context.Context, pool *pgxpool.Pool, client redis.UniversalClient) error {
	twin := refreshkey.New(refreshkey.Config{DB: pool, Redis: client, Hook: spec.hook()})
	switch spec.Job {
	case "flush":
		return twin.Flush(ctx, 1)
	case "scan":
		_, err := twin.Scan(ctx)
		return err
	}
	return fmt.Errorf("%w: %s", errNoJob, spec.Job)
}

func (spec countingSpec) ours(ctx context.Context, pool *pgxpool.Pool, client redis.UniversalClient) error {
	counters := counter.New(counter.Config{
		Home: pool, Redis: client, Jobs: &heldJobs{}, Logger: slog.New(slog.DiscardHandler), Hook: spec.hook(), Interval: time.Millisecond,
	})
	recounts := recount.New(recount.Config{
		Home: pool, Counters: counters, Jobs: &heldJobs{}, Logger: slog.New(slog.DiscardHandler), Hook: spec.hook(), Interval: time.Millisecond,
	})
	switch spec.Job {
	case "flush":
		_, err := counters.Flush(ctx)
		return err
	case "scan":
		return recounts.Scan(ctx, spec.Scan, 1, spec.Process)
	case "finalize":
		return recounts.Finalize(ctx, recount.Finalize{Scan: spec.Scan, Token: spec.Token}, 2)
	}
	return fmt.Errorf("%w: %s", errNoJob, spec.Job)
}

// heldFlush begins a flush of a goroutine that waits at the point. The returned
// function lets it go on, and returns when it has ended.
func heldFlush(t *testing.T, p *points, at string, flush func(ctx context.Context) error) (goOn func()) {
	t.Helper()
	held, ended := p.stopAt(at), make(chan error, 1)
	ctx := t.Context()
	go func() { ended <- flush(ctx) }()
	held.wait(t)
	return func() {
		t.Helper()
		held.release()
		must(t, <-ended)
	}
}

func (o *ours) heldFlush(t *testing.T, at string) (goOn func()) {
	t.Helper()
	return heldFlush(t, o.points, at, func(ctx context.Context) error {
		_, err := o.counters.Flush(ctx)
		return err
	})
}

func (p *published) heldFlush(t *testing.T, at string) (goOn func()) {
	t.Helper()
	return heldFlush(t, p.points, at, func(ctx context.Context) error { return p.Flush(ctx, 1) })
}
