package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"casq/internal/cursor"
	"casq/internal/database"
	"casq/internal/redisurl"
	"casq/internal/worker"

	"golang.org/x/sync/errgroup"
)

// childArgument is the first argument of a process that is a worker; the second
// is its spec.
const childArgument = "-worker-child"

// Fail makes the next batch of a worker fail, by an error that has nothing to do
// with the events.
const Fail = syscall.SIGUSR1

// spec is what a worker process is told.
type spec struct {
	Name     string
	URL      string // of home, which is the source
	RedisURL string
	Lease    time.Duration
}

// Child is a worker until ctx is done, if args, without the program's name, say
// so; false otherwise. It logs to out, a record a line, as JSON.
func Child(ctx context.Context, args []string, out io.Writer) (child bool, err error) {
	if len(args) != 2 || args[0] != childArgument {
		return false, nil
	}
	var s spec
	if err := json.Unmarshal([]byte(args[1]), &s); err != nil {
		return true, fmt.Errorf("read what to do: %w", err)
	}
	log := slog.New(slog.NewJSONHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return worker.Run(ctx, worker.Config{HomeURL: s.URL, RedisURL: s.RedisURL, CursorLease: s.Lease, Logger: log})
	})
	group.Go(func() error { return s.record(ctx, log) })
	return true, group.Wait()
}

// record follows the log with a recorder. Its pauses are those of any worker.
func (s spec) record(ctx context.Context, log *slog.Logger) error {
	pool, err := database.Open(ctx, s.URL, database.Options{Application: "casq recorder " + s.Name, MaxConns: 4, SearchPath: "public"})
	if err != nil {
		return err
	}
	defer pool.Close()
	redis, err := redisurl.Open(s.RedisURL)
	if err != nil {
		return err
	}
	defer redis.Close()
	r := &recorder{worker: s.Name}
	failures := make(chan os.Signal, 1)
	signal.Notify(failures, Fail)
	defer signal.Stop(failures)
	go r.obey(ctx, failures)
	return cursor.New(cursor.Config{
		Name: cursorName, Source: pool, Home: pool, Consumer: r,
		Redis: redis, Lease: s.Lease, Logger: log,
	}).Run(ctx)
}

// recorder is a consumer whose effect is a row for each event that it is given.
type recorder struct {
	worker string
	fail   atomic.Bool // the next batch
}

// errTold is the failure of a batch that was to fail.
var errTold = errors.New("apply the batch: told to fail")

// obey has a batch fail for each signal.
func (r *recorder) obey(ctx context.Context, failures <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-failures:
			r.fail.Store(true)
		}
	}
}
