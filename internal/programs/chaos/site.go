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
	"casq/internal/testing/sites"

	"github.com/jackc/pgx/v5"
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

	source   *sites.Site // its DB is the application's, at primaryLink; Redis is for both sites
	standbys int
	home     *sites.Site
}

func startSite(ctx context.Context, work *workspace, world world, journal *journal) (*site, error) {
	s := &site{work: work, world: world, journal: journal}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.startSource(groupCtx) })
	group.Go(func() error { return s.startHome(groupCtx) })
	if err := group.Wait(); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *site) startSource(ctx context.Context) (err error) {
	s.source, err = s.start(ctx, s.world.sourceClock, sites.Options{Redis: &servers.RedisOptions{}})
	if err != nil {
		return err
	}
	if err := s.link(primaryLink, s.source.Primary); err != nil {
		return err
	}
	// A transaction of the application's may be open for as long as it likes.
	s.source.DB, err = database.Open(ctx, s.url(primaryLink), database.Options{
		Application: "chaos application", SearchPath: "public", IdleInTransaction: time.Minute,
	})
	if err == nil {
		err = s.makeTables(ctx)
	}
	if err != nil {
		return fmt.Errorf("prepare the primary: %w", err)
	}
	if err := s.addStandby(ctx); err != nil {
		return err
	}
	return s.link(followLink, s.standby())
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
		if _, err := s.source.DB.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// watch makes the event triggers, which an ordinary role cannot.
func (s *site) watch(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.source.Primary.URL(databaseName))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, "SELECT casq.install_event_trigger()")
	return err
}

// standby is the primary's only one.
func (s *site) standby() *servers.Postgres { return s.source.Standbys[0] }

// addStandby starts a standby of the primary, in the place of the one before.
func (s *site) addStandby(ctx context.Context) error {
	s.standbys++
	standby, err := s.startStandby(ctx, fmt.Sprintf("standby%d", s.standbys))
	if err == nil {
		s.source.Standbys = []*servers.Postgres{standby}
	}
	return err
}

func (s *site) startHome(ctx context.Context) (err error) {
	s.home, err = s.start(ctx, s.world.homeClock, sites.Options{Pool: &database.Options{Application: "chaos"}})
	if err == nil {
		_, err = s.home.DB.Exec(ctx, recordedSQL)
	}
	if err != nil {
		return fmt.Errorf("prepare home: %w", err)
	}
	return nil
}

// quiet is for what tells an operator of what is of no use here.
var quiet = slog.New(slog.DiscardHandler)

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
	u := url.URL{Scheme: "postgres", User: url.User(role), Path: "/" + databaseName}
	u.RawQuery = url.Values{"host": {s.work.path(link)}, "port": {"5432"}}.Encode()
	return u.String()
}

func (s *site) stop() error { return errors.Join(s.source.Stop(), s.home.Stop()) }
