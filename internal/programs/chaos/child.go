package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"casq/internal/cursor"
	"casq/internal/database"
	"casq/internal/redisurl"
	"casq/internal/worker"

	"golang.org/x/sync/errgroup"
)

// workerArgument is the first argument of a process that is a worker; the
// second is the file with its spec.
const workerArgument = "-worker"

// spec is what a worker process is told.
type spec struct {
	Name             string
	HomeURL          string
	ReplicaURL       string // of home; recounts scan there
	SourceURL        string
	RedisURL         string
	ArtifactSource   string
	ArtifactTarget   string
	RepositorySource string
	RepositoryTarget string
	Path             string // PATH of git
	Orders           string // file with an order, see obeyOrders
	Builds           *buildsSpec
	TTL              time.Duration
}

// follows tells whether the worker is one of the second site.
func (s spec) follows() bool { return s.ArtifactTarget != "" }

// beWorker is a worker until ctx is done.
func beWorker(ctx context.Context, file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	var s spec
	if err := json.Unmarshal(content, &s); err != nil {
		return fmt.Errorf("read what to do in %s: %w", file, err)
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("worker", s.Name, "pid", os.Getpid())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return worker.Run(ctx, s.config(log)) })
	if s.follows() {
		group.Go(func() error { return record(ctx, s, log) })
	}
	return group.Wait()
}

func (s spec) config(log *slog.Logger) worker.Config {
	var replicas []string
	if s.ReplicaURL != "" {
		replicas = append(replicas, s.ReplicaURL)
	}
	c := worker.Config{
		ReplicaURLs: replicas,
		HomeURL:     s.HomeURL, SourceURL: s.SourceURL, RedisURL: s.RedisURL,
		ArtifactSource: s.ArtifactSource, ArtifactTarget: s.ArtifactTarget,
		RepositorySource: s.RepositorySource, RepositoryTarget: s.RepositoryTarget,
		GitEnvironment: []string{"PATH=" + s.Path, "HOME=/nonexistent"},
		ClaimTTL:       s.TTL, CursorLease: s.TTL, CursorWait: s.TTL / 10, Concurrency: 16,
		// A step is read in several pages now and then.
		PageSize: pageSize,
		CopyRate: copyRate,
		// One pass over the artifacts may just take that long: some recounts go on
		// in parts.
		RefreshSnapshotLimit: time.Millisecond,
		Hook:                 obeyOrders(s.Orders),
		Logger:               log,
	}
	s.Builds.config(&c)
	return c
}

const (
	pageSize = 20
	// copyRate lets a large file take a second, so that many copies are under
	// way when something happens.
	copyRate = 5_000_000
)

// record follows the log with a consumer of our own, beside the worker's.
func record(ctx context.Context, s spec, log *slog.Logger) error {
	home, err := database.Open(ctx, s.HomeURL, database.Options{Application: "chaos recorder", SearchPath: "public", MaxConns: 2})
	if err != nil {
		return err
	}
	defer home.Close()
	source, err := database.Open(ctx, s.SourceURL, database.Options{Application: "chaos recorder", SearchPath: "public", MaxConns: 2})
	if err != nil {
		return err
	}
	defer source.Close()
	redis, err := redisurl.Open(s.RedisURL)
	if err != nil {
		return err
	}
	defer redis.Close()
	err = cursor.New(cursor.Config{
		Name: recorderName, Source: source, Home: home, Consumer: recorder{s.Name},
		Redis: redis, Lease: s.TTL, Logger: log, PageSize: pageSize, Wait: s.TTL / 10,
		Hook: obeyOrders(s.Orders),
	}).Run(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}
