package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"casq/internal/database"
	"casq/internal/pause"
	"casq/internal/testing/servers"
	"casq/internal/testing/sites"
	"casq/internal/token"
	"casq/internal/worker"
	"casq/migrations"

	"golang.org/x/sync/errgroup"
)

const appDatabase = "app"

var siteTokens = []token.Token{{Name: "second", Secret: "a-secret-of-the-rehearsal"}}

const tables = `
	CREATE TABLE uploads (path text PRIMARY KEY, size bigint NOT NULL, sha256 text NOT NULL);
	CREATE TABLE projects (path text PRIMARY KEY, head text NOT NULL);
	SELECT casq.track('uploads', kind => 'upload', transfer => 'file', key_column => 'path', size_column => 'size', payload_columns => '{sha256}');
	SELECT casq.track('projects', kind => 'repository', transfer => 'git', prefix => '', key_column => 'path', payload_columns => '{head}')`

// start starts both sites, and the application.
func (r *rehearsal) start(ctx context.Context) (err error) {
	group, groupCtx := errgroup.WithContext(ctx)
	pool := &database.Options{Application: "promote", MaxConns: 8}
	group.Go(func() (err error) {
		r.first, err = sites.Start(groupCtx, sites.Options{Database: appDatabase, Standbys: make([]servers.StandbyOptions, 1), Pool: pool})
		return err
	})
	group.Go(func() (err error) {
		r.second, err = sites.Start(groupCtx, sites.Options{Database: "second"})
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if _, err := r.first.DB.Exec(ctx, tables); err != nil {
		return fmt.Errorf("make the application's tables: %w", err)
	}
	for _, site := range []string{"first", "second"} {
		for _, what := range []string{"files", "repositories"} {
			if err := os.MkdirAll(r.folder(site, what), 0o755); err != nil {
				return err
			}
		}
	}
	addr, err := freeAddr(ctx)
	if err != nil {
		return err
	}
	r.app = &application{seed: r.cfg.seed, addr: addr}
	return nil
}

// lose has the application write, and takes the first site away meanwhile.
func (r *rehearsal) lose(ctx context.Context) error {
	stopFirst := r.work(ctx, r.firstConfig(r.first.URL, r.folder("first", "files"), r.app.addr))
	stopSecond := r.work(ctx, r.secondConfig(r.second.URL, r.first.Standbys[0].URL(appDatabase), r.app.addr, "first", "second"))
	writing := make(chan error, 1)
	writingCtx, stopWriting := context.WithCancel(ctx)
	defer stopWriting()
	go func() {
		writing <- r.app.write(writingCtx, r.first.DB, r.folder("first", "files"), r.folder("first", "repositories"))
	}()
	err := errors.Join(pause.For(ctx, r.cfg.duration), r.begun(ctx))
	err = errors.Join(err, r.first.Primary.StopImmediate(ctx))
	for _, what := range []string{"files", "repositories"} {
		err = errors.Join(err, os.Rename(r.folder("first", what), r.folder("first", what)+".gone"))
	}
	stopWriting()
	writeErr := <-writing
	r.say("the first site was lost after %d changes", r.app.changes.Load())
	return errors.Join(err, writeErr, stopFirst(), stopSecond())
}

// begun waits until something of each kind is in place at the second site: there is nothing to
// promote before.
func (r *rehearsal) begun(ctx context.Context) error {
	home, err := database.Open(ctx, r.second.URL, database.Options{})
	if err != nil {
		return err
	}
	defer home.Close()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		var kinds int
		err := home.QueryRow(ctx, "SELECT count(DISTINCT kind) FROM casq.registry WHERE synced_version IS NOT NULL AND deleted_at IS NULL").Scan(&kinds)
		if err != nil {
			return fmt.Errorf("ask what is in place at the second site: %w", err)
		}
		if kinds == 2 {
			return nil
		}
		if err := pause.For(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("the second site has not copied of both kinds within %s", patience)
}

// newHome makes a database for the old site as the second one.
func (r *rehearsal) newHome(ctx context.Context) (url string, err error) {
	if err := r.second.Primary.Exec(ctx, "CREATE DATABASE back"); err != nil {
		return "", err
	}
	url = r.second.Primary.URL("back")
	return url, migrations.Up(ctx, url, slog.New(slog.DiscardHandler))
}

// work runs a worker until stop is called.
func (r *rehearsal) work(ctx context.Context, cfg worker.Config) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx, cfg) }()
	return func() error {
		cancel()
		return <-done
	}
}

// freeAddr is an address that nobody has.
func freeAddr(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// patience is for whatever has to happen at last.
const patience = 2 * time.Minute
