package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"casq/cmd/internal/cli"
	"casq/eventlog"
	"casq/internal/audit"
	"casq/internal/database"
	"casq/migrations"
	"casq/replica"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
)

// connectTimeout is how long a command waits for a database.
const connectTimeout = 10 * time.Second

// home is the database that a command works on.
type home struct {
	*pgxpool.Pool
	cfg config
	log *slog.Logger
}

// withHome opens home's database, makes sure that this program may use it, and
// calls f.
func withHome(cmd *cobra.Command, f func(ctx context.Context, h *home) error) error {
	ctx := cmd.Context()
	cfg, err := readConfig(cli.NewEnv())
	if err != nil {
		return err
	}
	pool, err := connect(ctx, cfg.homeURL)
	if err != nil {
		return fmt.Errorf("connect to DATABASE_URL: %w", err)
	}
	defer pool.Close()
	if err := migrations.Check(ctx, pool); err != nil {
		return fmt.Errorf("check the database at DATABASE_URL: %w", err)
	}
	ctx = audit.With(ctx, request(cmd))
	return f(ctx, &home{Pool: pool, cfg: cfg, log: cfg.log.Logger(cmd.ErrOrStderr())})
}

func connect(ctx context.Context, url string) (*pgxpool.Pool, error) {
	pool, err := database.Open(ctx, url, database.Options{Application: "casq enqueue", MaxConns: 4})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// querier sends queries.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// reader returns where to read what home has by now: a standby, if one has it, else
// home itself. What was enqueued a moment ago is there.
func (h *home) reader(ctx context.Context) (reader querier, closeReader func(), err error) {
	if len(h.cfg.replicaURLs) == 0 {
		return h.Pool, func() {}, nil
	}
	db, err := replica.New(ctx, h.Pool, replica.Options{
		Schema:   "casq",
		Standbys: replica.URLs(h.cfg.replicaURLs...),
		Connect: func(ctx context.Context, url string) (*pgxpool.Pool, error) {
			return database.Open(ctx, url, database.Options{Application: "casq enqueue", MaxConns: 2})
		},
		Logger: h.log,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read from REPLICA_DATABASE_URLS: %w", err)
	}
	session := db.Session()
	if err := session.Wrote(ctx); err != nil {
		db.Close()
		return nil, nil, err
	}
	return session.Read(), db.Close, nil
}

// source opens the database that the log is in, which may be home itself.
func (h *home) source(ctx context.Context) (pool *pgxpool.Pool, closePool func(), err error) {
	if h.cfg.sourceURL == "" {
		return h.Pool, func() {}, nil
	}
	pool, err = connect(ctx, h.cfg.sourceURL)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to SOURCE_DATABASE_URL: %w", err)
	}
	return pool, pool.Close, nil
}

// queueOf is the queue of a kind's jobs.
func (h *home) queueOf(ctx context.Context, kind string) (string, error) {
	kinds, err := eventlog.Kinds(ctx, h)
	return kinds[kind].Queue, err
}

// checkKind returns an error that names the known kinds, unless name is one.
func (h *home) checkKind(ctx context.Context, name string) error {
	kinds, err := eventlog.Kinds(ctx, h)
	if err != nil {
		return err
	}
	if _, known := kinds[name]; known {
		return nil
	}
	list := strings.Join(slices.Sorted(maps.Keys(kinds)), ", ")
	if list == "" {
		list = "none yet; the first event of a kind brings it"
	}
	return fmt.Errorf("%w %q; known: %s", eventlog.ErrUnknownKind, name, list)
}

// config is what the environment says.
type config struct {
	homeURL     string
	replicaURLs []string
	sourceURL   string // "": the log is home's
	redisURL    string // "": counters are read as they were flushed
	log         cli.LogConfig
}

// readConfig reads the environment. The error names every variable that is
// wrong, with its value and what it may be.
func readConfig(env *cli.Env) (config, error) {
	env.Require("DATABASE_URL", "the database of the workers, such as postgres://app@localhost/app")
	cfg := config{
		homeURL:     env.Database("DATABASE_URL"),
		replicaURLs: env.Databases("REPLICA_DATABASE_URLS"),
		sourceURL:   env.Database("SOURCE_DATABASE_URL"),
		redisURL:    env.Redis("REDIS_URL"),
		log: cli.LogConfig{
			Format:   env.Choice("LOG_FORMAT", cli.LogText, cli.LogJSON),
			Level:    env.Level("LOG_LEVEL"),
			Warnings: env.Warnings(), // of all that was read before
		},
	}
	return cfg, env.Err()
}
