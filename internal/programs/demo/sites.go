package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"casq/internal/database"
	"casq/internal/testing/servers"
	"casq/migrations"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

//go:embed tables.sql
var tablesSQL string

const (
	databaseName = "demo"
	// role owns the databases. It is an ordinary one: casq needs no more. It is
	// not called casq, since tables are made in the schema of one's own name.
	role = "demo"
)

// quiet is for migrations: what an operator has to know of partitioned tables
// is of no use here, where there is none.
var quiet = slog.New(slog.DiscardHandler)

// sites are the servers of both sites, and connections to their databases.
type sites struct {
	primary *servers.Postgres // P
	standby *servers.Postgres // S, P's standby
	second  *servers.Postgres // H
	redis   *servers.Redis

	primaryURL, standbyURL, secondURL string

	p, h *pgxpool.Pool
}

// start starts everything at once, as far as one does not need the other.
func (s *sites) start(ctx context.Context, w *workspace, keep bool, log *slog.Logger) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.startPrimary(ctx, options(w, keep, log)) })
	group.Go(func() error { return s.startSecond(ctx, options(w, keep, log)) })
	group.Go(func() (err error) {
		s.redis, err = servers.StartRedis(ctx, servers.RedisOptions{Logger: log})
		return err
	})
	return group.Wait()
}

type serverOptions struct {
	servers.PostgresOptions
	dir func(name string) string
}

// options are those of all servers. What is kept has to be in a folder of our
// own, and gets a port: its socket's folder may have too long a name.
func options(w *workspace, keep bool, log *slog.Logger) serverOptions {
	o := serverOptions{dir: func(string) string { return "" }}
	o.Logger, o.TCP = log, keep
	if keep {
		o.dir = func(name string) string { return w.path("servers", name) }
	}
	return o
}

func (s *sites) startPrimary(ctx context.Context, o serverOptions) (err error) {
	o.Dir = o.dir("primary")
	if s.primary, err = servers.StartPostgres(ctx, o.PostgresOptions); err != nil {
		return fmt.Errorf("primary site: %w", err)
	}
	if s.primaryURL, s.p, err = createDatabase(ctx, s.primary); err != nil {
		return fmt.Errorf("primary site: %w", err)
	}
	// The standby comes with the role and the empty database, and gets what
	// follows as log.
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		s.standby, err = s.primary.Standby(ctx, servers.StandbyOptions{Dir: o.dir("standby"), TCP: o.TCP, Logger: o.Logger})
		if err != nil {
			return fmt.Errorf("primary site: %w", err)
		}
		s.standbyURL, err = s.standby.RoleURL(ctx, role, databaseName)
		return err
	})
	group.Go(func() error {
		if err := migrations.Up(ctx, s.primaryURL, quiet); err != nil {
			return fmt.Errorf("primary site: %w", err)
		}
		if _, err := s.p.Exec(ctx, tablesSQL); err != nil {
			return fmt.Errorf("make the tracked tables: %w", err)
		}
		return nil
	})
	return group.Wait()
}

func (s *sites) startSecond(ctx context.Context, o serverOptions) (err error) {
	o.Dir = o.dir("second")
	if s.second, err = servers.StartPostgres(ctx, o.PostgresOptions); err != nil {
		return fmt.Errorf("second site: %w", err)
	}
	if s.secondURL, s.h, err = createDatabase(ctx, s.second); err != nil {
		return fmt.Errorf("second site: %w", err)
	}
	if err := migrations.Up(ctx, s.secondURL, quiet); err != nil {
		return fmt.Errorf("second site: %w", err)
	}
	return nil
}

// createDatabase makes the demo's database, which an ordinary role owns.
func createDatabase(ctx context.Context, server *servers.Postgres) (string, *pgxpool.Pool, error) {
	url, err := server.RoleURL(ctx, role, databaseName)
	if err != nil {
		return "", nil, err
	}
	if err := server.Exec(ctx, "CREATE DATABASE "+databaseName+" OWNER "+role); err != nil {
		return "", nil, fmt.Errorf("create the database: %w", err)
	}
	pool, err := database.Open(ctx, url, database.Options{Application: "casq demo", SearchPath: "public"})
	return url, pool, err
}

// stopWait is for servers that write down what they have.
const stopWait = time.Minute

// stop closes the connections and stops all servers, standby first.
func (s *sites) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	for _, pool := range []*pgxpool.Pool{s.p, s.h} {
		if pool != nil {
			pool.Close()
		}
	}
	var errs []error
	for _, server := range []*servers.Postgres{s.standby, s.primary, s.second} {
		if server != nil {
			errs = append(errs, server.Stop(ctx))
		}
	}
	if s.redis != nil {
		errs = append(errs, s.redis.Stop(ctx))
	}
	return errors.Join(errs...)
}
