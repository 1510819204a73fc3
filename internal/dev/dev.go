// Package dev runs a set of servers for people who develop: a Postgres primary
// with one streaming standby, and Redis, with their data in a folder that stays.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"casq/internal/testing/servers"
	"casq/internal/testing/sites"
)

// Database is the name of the database that [Run] makes and migrates.
const Database = "casq"

// Folders of the servers, below [Config].Dir, and the file for shells.
const (
	primaryDir = "primary"
	standbyDir = "standby"
	redisDir   = "redis"
	envFile    = "env"
)

// Config says where the servers live and where people are told about them.
type Config struct {
	Dir    string // a new or empty folder, or that of an earlier run
	Out    io.Writer
	Logger *slog.Logger
}

// Run starts the servers, tells how to connect, and stops them when ctx is
// done. It returns nil then; an error means that something could not be started
// or stopped.
func Run(ctx context.Context, cfg Config) (err error) {
	dir, err := prepare(cfg.Dir)
	if err != nil {
		return fmt.Errorf("use folder %s: %w", cfg.Dir, err)
	}
	s := &site{dir: dir, log: cfg.Logger}
	err = s.start(ctx)
	if err == nil {
		err = s.tell(cfg.Out)
	}
	if err == nil {
		<-ctx.Done()
		fmt.Fprintln(cfg.Out, "stopping")
	}
	if ctx.Err() != nil {
		err = nil // interrupted while it started
	}
	return errors.Join(err, s.stop())
}

// prepare makes the folder. One that holds something else is left alone.
func prepare(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return dir, os.MkdirAll(dir, 0o755)
	}
	if err != nil || len(entries) == 0 {
		return dir, err
	}
	if _, err := os.Stat(filepath.Join(dir, primaryDir)); err != nil {
		return "", fmt.Errorf("%w: it holds something else: choose an empty folder, or a new one", fs.ErrExist)
	}
	return dir, nil
}

// site is the set of servers.
type site struct {
	*sites.Site
	dir string
	log *slog.Logger
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) start(ctx context.Context) (err error) {
	s.Site, err = sites.Start(ctx, sites.Options{
		Postgres: servers.PostgresOptions{Dir: s.path(primaryDir), Durable: true, TCP: true, Logger: s.log},
		Standbys: []servers.StandbyOptions{{Dir: s.path(standbyDir), ApplicationName: "dev", TCP: true}},
		Redis:    &servers.RedisOptions{Dir: s.path(redisDir), TCP: true, Logger: s.log},
		Database: Database, Logger: s.log,
		Started: s.forget, // what a run that was killed left
	})
	if err != nil {
		return err
	}
	// Whoever reads from the standby at once finds the schema there.
	return s.CaughtUp(ctx)
}

// stop stops what was started.
func (s *site) stop() error {
	if s.Site == nil {
		return nil
	}
	return errors.Join(s.forget(), s.Stop())
}

// forget removes the file that tells how to connect.
func (s *site) forget() error {
	if err := os.Remove(s.path(envFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
