// Package sites sets up what a site has: a private Postgres with a database of
// casq's, its standbys, and Redis. What is the caller's own, such as tables,
// folders and worker processes, comes on top.
package sites

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"casq/internal/database"
	"casq/internal/testing/servers"
	"casq/migrations"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

// Options say what a site has. The zero value is a primary alone, with casq's
// schema in database postgres.
type Options struct {
	Postgres servers.PostgresOptions
	Standbys []servers.StandbyOptions
	Redis    *servers.RedisOptions // nil for a site without
	// Database is made unless it is there. Defaults to postgres.
	Database string
	// Role is an ordinary one, which is made and owns Database. Defaults to the
	// superuser.
	Role string
	// Unmigrated leaves casq's schema out.
	Unmigrated bool
	// Started is called when the primary runs: its folder is nobody else's then. nil for
	// nothing to do.
	Started func() error
	Pool    *database.Options // of Site.DB; nil for none
	Logger  *slog.Logger      // is told of migrations; defaults to none
}

// Site is what was started. Whoever starts, stops or promotes servers beyond that
// keeps the fields true: [Site.Stop] goes by them.
type Site struct {
	Primary  *servers.Postgres
	Standbys []*servers.Postgres
	Redis    *servers.Redis
	URL      string // of the database at Primary, for its owner
	DB       *pgxpool.Pool
}

// Start starts at once what does not need each other. On an error nothing is left.
func Start(ctx context.Context, o Options) (*Site, error) {
	s := &Site{}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.startPostgres(groupCtx, o) })
	if o.Redis != nil {
		group.Go(func() (err error) {
			s.Redis, err = servers.StartRedis(groupCtx, *o.Redis)
			return err
		})
	}
	err := group.Wait()
	if err == nil && o.Pool != nil {
		pool := *o.Pool
		pool.SearchPath = cmp.Or(pool.SearchPath, "public")
		s.DB, err = database.Open(ctx, s.URL, pool)
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *Site) startPostgres(ctx context.Context, o Options) (err error) {
	if s.Primary, err = servers.StartPostgres(ctx, o.Postgres); err != nil {
		return err
	}
	if o.Started != nil {
		if err := o.Started(); err != nil {
			return err
		}
	}
	// A copy of a server that has nothing is made soonest. The rest comes as log.
	group, ctx := errgroup.WithContext(ctx)
	s.Standbys = make([]*servers.Postgres, len(o.Standbys))
	for i, options := range o.Standbys {
		group.Go(func() (err error) {
			s.Standbys[i], err = s.Primary.Standby(ctx, options)
			return err
		})
	}
	group.Go(func() (err error) {
		s.URL, err = createDatabase(ctx, s.Primary, cmp.Or(o.Database, "postgres"), o.Role)
		if err != nil || o.Unmigrated {
			return err
		}
		return migrations.Up(ctx, s.URL, cmp.Or(o.Logger, slog.New(slog.DiscardHandler)))
	})
	return group.Wait()
}

const duplicateDatabase = "42P04"

// createDatabase returns the URL for the database's owner.
func createDatabase(ctx context.Context, server *servers.Postgres, name, role string) (url string, err error) {
	url, owned := server.URL(name), ""
	if role != "" {
		if url, err = server.RoleURL(ctx, role, name); err != nil {
			return "", err
		}
		owned = " OWNER " + pgx.Identifier{role}.Sanitize()
	}
	err = server.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+owned)
	if err != nil && database.Code(err) != duplicateDatabase {
		return "", fmt.Errorf("create database %s: %w", name, err)
	}
	return url, nil
}

// CaughtUp returns when the standbys have replayed what the primary has written.
func (s *Site) CaughtUp(ctx context.Context) error {
	var errs []error
	for _, standby := range s.Standbys {
		errs = append(errs, standby.WaitReplayed(ctx, s.Primary))
	}
	return errors.Join(errs...)
}

// stopWait is for servers that write down what they have.
const stopWait = time.Minute

// Stop closes DB and stops all servers, standbys first: a primary waits for those
// that follow it. It may be called again, and for a site that was not started.
func (s *Site) Stop() error {
	if s == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopWait)
	defer cancel()
	if s.DB != nil {
		s.DB.Close()
	}
	var errs []error
	for _, server := range append(s.Standbys, s.Primary) {
		if server != nil {
			errs = append(errs, server.Stop(ctx))
		}
	}
	if s.Redis != nil {
		errs = append(errs, s.Redis.Stop(ctx))
	}
	return errors.Join(errs...)
}
