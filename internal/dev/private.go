package dev

import (
	"context"
	"log/slog"

	"casq/internal/testing/servers"
	"casq/internal/testing/sites"
)

// Private is a migrated database of a server that nobody else uses. Nothing of it is left
// when it is stopped, nor when its process is killed.
type Private struct {
	URL  string // for an ordinary role, which owns it
	site *sites.Site
}

// StartPrivate starts one, of a Postgres that is installed. The logger is told of the server.
func StartPrivate(ctx context.Context, logger *slog.Logger) (*Private, error) {
	site, err := sites.Start(ctx, sites.Options{
		Postgres: servers.PostgresOptions{Logger: logger}, Database: Database, Role: Database,
	})
	if err != nil {
		return nil, err
	}
	return &Private{URL: site.URL, site: site}, nil
}

// Stop stops the server, and removes what it has.
func (p *Private) Stop() error { return p.site.Stop() }
