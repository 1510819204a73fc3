// The asynq program works on jobs that do nothing, by asynq on a Redis that is empty but for
// them, and prints how many a second were done. It is a module of its own: nothing of casq needs
// asynq.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

const kind = "bench:nothing"

func main() {
	rate, err := run(context.Background(), os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "asynq:", err)
		os.Exit(1)
	}
	fmt.Println(rate)
}

func run(ctx context.Context, args []string) (float64, error) {
	flags := flag.NewFlagSet("asynq", flag.ContinueOnError)
	url := flags.String("redis", "", "the URL of an empty Redis")
	jobs := flags.Int64("jobs", 20_000, "how many")
	workers := flags.Int("workers", 100, "how many run at once")
	if err := flags.Parse(args); err != nil {
		return 0, err
	}
	redis, err := asynq.ParseRedisURI(*url)
	if err != nil {
		return 0, fmt.Errorf("read -redis: %w", err)
	}
	if err := fill(ctx, redis, *jobs); err != nil {
		return 0, err
	}
	took, err := work(ctx, redis, *jobs, *workers)
	return float64(*jobs) / took.Seconds(), err
}

// fill queues jobs, each with a payload like that of ours.
func fill(ctx context.Context, redis asynq.RedisConnOpt, jobs int64) (err error) {
	client := asynq.NewClient(redis)
	defer func() { err = errors.Join(err, client.Close()) }()
	for i := range jobs {
		payload, err := json.Marshal(map[string]any{"kind": "resource", "resource_id": fmt.Sprintf("resources/%d", i), "version": i})
		if err != nil {
			return err
		}
		if _, err := client.EnqueueContext(ctx, asynq.NewTask(kind, payload)); err != nil {
			return fmt.Errorf("queue a job: %w", err)
		}
	}
	return nil
}

// work works on all that is queued.
func work(ctx context.Context, redis asynq.RedisConnOpt, jobs int64, workers int) (time.Duration, error) {
	var done atomic.Int64
	all := make(chan struct{})
	mux := asynq.NewServeMux()
	mux.HandleFunc(kind, func(context.Context, *asynq.Task) error {
		if done.Add(1) == jobs {
			close(all)
		}
		return nil
	})
	server := asynq.NewServer(redis, asynq.Config{Concurrency: workers, LogLevel: asynq.ErrorLevel})
	start := time.Now()
	if err := server.Start(mux); err != nil {
		return 0, fmt.Errorf("start the workers: %w", err)
	}
	defer server.Shutdown()
	select {
	case <-all:
		return time.Since(start), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}
