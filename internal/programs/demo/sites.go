package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"casq/internal/database"
	"casq/internal/testing/servers"
	"casq/internal/testing/sites"

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

// startSites starts both sites at once. Redis is for both.
func (d *demo) startSites(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		o := d.siteOptions("primary")
		o.Standbys = []servers.StandbyOptions{{Dir: d.serverDir("standby"), TCP: o.Postgres.TCP}}
		o.Redis = &servers.RedisOptions{Logger: d.cfg.Logger}
		if d.primary, err = sites.Start(ctx, o); err != nil {
			return fmt.Errorf("primary site: %w", err)
		}
		if _, err := d.primary.DB.Exec(ctx, tablesSQL); err != nil {
			return fmt.Errorf("make the tracked tables: %w", err)
		}
		return nil
	})
	group.Go(func() (err error) {
		if d.second, err = sites.Start(ctx, d.siteOptions("second")); err != nil {
			return fmt.Errorf("second site: %w", err)
		}
		return nil
	})
	return group.Wait()
}

// siteOptions are those of both sites. A server that is kept gets a port: its
// socket's folder may have too long a name.
func (d *demo) siteOptions(server string) sites.Options {
	return sites.Options{
		Postgres: servers.PostgresOptions{Dir: d.serverDir(server), TCP: d.cfg.Keep, Logger: d.cfg.Logger},
		Database: databaseName, Role: role, Pool: &database.Options{Application: "casq demo"},
	}
}

// serverDir is a folder of our own for what is kept, and the servers' choice
// otherwise.
func (d *demo) serverDir(server string) string {
	if !d.cfg.Keep {
		return ""
	}
	return d.work.path("servers", server)
}

// standbyURL is where the second site reads the log.
func (d *demo) standbyURL() string { return d.primary.Standbys[0].URLFor(role, databaseName) }

func (d *demo) stopSites() error { return errors.Join(d.primary.Stop(), d.second.Stop()) }
