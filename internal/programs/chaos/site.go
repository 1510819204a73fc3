package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"time"

	"casq/internal/database"
	"casq/internal/testing/servers"
	"casq/migrations"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

var (
	//go:embed tables.sql
	tablesSQL string
	//go:embed artifacts.sql
	artifactsSQL string
	//go:embed artifacts_by_path.sql
	artifactsByPathSQL string
	//go:embed track.sql
	trackSQL string
	//go:embed recorded.sql
	recordedSQL string
)

const (
	databaseName = "chaos"
	role         = "chaos" // an ordinary one, which owns the databases

	// Addresses that stay while servers come and go: links to the folders of
	// the servers' sockets.
	primaryLink = "primary" // where the application writes
	followLink  = "follow"  // where the second site reads the log
)

// site has the servers of both sites. Whoever replaces one has the resource
// "source"; see resources.
type site struct {
	work    *workspace
	world   world
	journal *journal

	primary, standby *servers.Postgres
	standbys         int
	home             *servers.Postgres
	redis            *servers.Redis

	db *pgxpool.Pool // the application's, at the primary
	h  *pgxpool.Pool // home's, to look at
}

func startSite(ctx context.Context, work *workspace, world world, journal *journal) (*site, error) {
	s := &site{work: work, world: world, journal: journal}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.startPrimary(groupCtx) })
	group.Go(func() error { return s.startHome(groupCtx) })
	group.Go(func() (err error) {
		s.redis, err = servers.StartRedis(groupCtx, servers.RedisOptions{})
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, errors.Join(err, s.stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *site) startPrimary(ctx context.Context) (err error) {
	if s.primary, err = s.startPostgres(ctx, s.world.sourceClock); err != nil {
		return err
	}
	if err := createDatabase(ctx, s.primary); err != nil {
		return err
	}
	if err := s.link(primaryLink, s.primary); err != nil {
		return err
	}
	// A transaction of the application's may be open for as long as it likes.
	s.db, err = database.Open(ctx, s.url(primaryLink), database.Options{
		Application: "chaos application", SearchPath: "public", IdleInTransaction: time.Minute,
	})
	if err == nil {
		err = migrations.Up(ctx, s.url(primaryLink), quiet)
	}
	if err == nil {
		err = s.makeTables(ctx)
	}
	if err != nil {
		return fmt.Errorf("prepare the primary: %w", err)
	}
	if err := s.addStandby(ctx); err != nil {
		return err
	}
	return s.link(followLink, s.standby)
}

func (s *site) makeTables(ctx context.Context) error {
	artifacts := artifactsSQL
	if s.world.watched {
		artifacts = artifactsByPathSQL
		if err := s.watch(ctx); err != nil {
			return err
		}
	}
	for _, sql := range []string{tablesSQL, artifacts, trackSQL} {
		if _, err := s.db.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// watch makes the event triggers, which an ordinary role cannot.
func (s *site) watch(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.primary.URL(databaseName))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "SELECT casq.install_event_trigger()")
	return err
}

// addStandby starts a standby of the primary, in the place of the one before.
func (s *site) addStandby(ctx context.Context) (err error) {
	s.standbys++
	s.standby, err = s.startStandby(ctx, fmt.Sprintf("standby%d", s.standbys))
	return err
}

func (s *site) startHome(ctx context.Context) (err error) {
	if s.home, err = s.startPostgres(ctx, s.world.homeClock); err != nil {
		return err
	}
	if err := createDatabase(ctx, s.home); err != nil {
		return err
	}
	s.h, err = database.Open(ctx, s.homeURL(), database.Options{Application: "chaos", SearchPath: "public"})
	if err == nil {
		err = migrations.Up(ctx, s.homeURL(), quiet)
	}
	if err == nil {
		_, err = s.h.Exec(ctx, recordedSQL)
	}
	if err != nil {
		return fmt.Errorf("prepare home: %w", err)
	}
	return nil
}

// quiet is for migrations, which tell an operator of what is of no use here.
var quiet = slog.New(slog.DiscardHandler)

func createDatabase(ctx context.Context, server *servers.Postgres) error {
	if _, err := server.RoleURL(ctx, role, databaseName); err != nil {
		return err
	}
	if err := server.Exec(ctx, "CREATE DATABASE "+databaseName+" OWNER "+role); err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	return nil
}

// link makes an address lead to a server, in one step. Sessions that are open
// stay where they are.
func (s *site) link(name string, server *servers.Postgres) error {
	at, err := url.Parse(server.URL(databaseName))
	if err != nil {
		return fmt.Errorf("find the server's socket: %w", err)
	}
	fresh := s.work.path(name + ".new")
	if err := os.Symlink(at.Query().Get("host"), fresh); err != nil {
		return err
	}
	return os.Rename(fresh, s.work.path(name))
}

// url is what pgx finds a database by, at an address.
func (s *site) url(link string) string {
	return socketURL(s.work.path(link))
}

func socketURL(dir string) string {
	u := url.URL{Scheme: "postgres", User: url.User(role), Path: "/" + databaseName}
	u.RawQuery = url.Values{"host": {dir}, "port": {"5432"}}.Encode()
	return u.String()
}

func (s *site) homeURL() string {
	u, err := url.Parse(s.home.URL(databaseName))
	if err != nil {
		return ""
	}
	return socketURL(u.Query().Get("host"))
}

const stopWait = time.Minute

// stop ends all servers and removes what they had.
func (s *site) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	for _, pool := range []*pgxpool.Pool{s.db, s.h} {
		if pool != nil {
			pool.Close()
		}
	}
	var errs []error
	for _, server := range []*servers.Postgres{s.standby, s.primary, s.home} {
		if server != nil {
			errs = append(errs, server.Stop(ctx))
		}
	}
	if s.redis != nil {
		errs = append(errs, s.redis.Stop(ctx))
	}
	return errors.Join(errs...)
}
