package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"casq/internal/database"
	"casq/internal/testing/servers"
	"casq/internal/testing/workers"
	"casq/migrations"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// site has the servers.
type site struct {
	postgres *servers.Postgres
	redis    *servers.Redis
	url      string
	db       *pgxpool.Pool
}

func startSite(ctx context.Context) (*site, error) {
	s := &site{}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.startPostgres(groupCtx) })
	group.Go(func() (err error) {
		s.redis, err = servers.StartRedis(groupCtx, servers.RedisOptions{})
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, errors.Join(err, s.stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *site) startPostgres(ctx context.Context) (err error) {
	if s.postgres, err = servers.StartPostgres(ctx, servers.PostgresOptions{}); err != nil {
		return err
	}
	s.url = s.postgres.URL("postgres")
	if err := migrations.Up(ctx, s.url, slog.New(slog.DiscardHandler)); err != nil {
		return fmt.Errorf("prepare the database: %w", err)
	}
	if s.db, err = database.Open(ctx, s.url, database.Options{Application: "failover", SearchPath: "public"}); err != nil {
		return err
	}
	return workers.Prepare(ctx, s.db)
}

// stop ends the servers and removes what they had.
func (s *site) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var errs []error
	if s.db != nil {
		s.db.Close()
	}
	if s.postgres != nil {
		errs = append(errs, s.postgres.Stop(ctx))
	}
	if s.redis != nil {
		errs = append(errs, s.redis.Stop(ctx))
	}
	return errors.Join(errs...)
}
