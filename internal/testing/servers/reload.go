package servers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Reload changes settings of a running server. It returns when new connections
// have them; those that are open follow when they are next idle. A wrong setting
// is an error and changes nothing. One that only a start can change is an error
// too, and is changed by the next [Postgres.Start].
func (p *Postgres) Reload(ctx context.Context, settings map[string]string) error {
	before, err := p.loaded(ctx)
	if err != nil {
		return fmt.Errorf("reload postgres: %w", err)
	}
	late, err := p.signalReload(ctx, settings)
	if err != nil {
		return fmt.Errorf("reload postgres: %w", err)
	}
	err = poll(ctx, func() (bool, error) {
		now, err := p.loaded(ctx)
		return now.After(before), err
	})
	if err != nil {
		return fmt.Errorf("wait until postgres has reloaded: %w", err)
	}
	return late
}

// signalReload writes the settings and makes the server read them, unless one
// is wrong. The first result is about those that have to wait for a start.
func (p *Postgres) signalReload(ctx context.Context, settings map[string]string) (late, err error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	former := maps.Clone(p.settings)
	maps.Copy(p.settings, settings)
	if err := p.writeSettings(); err != nil {
		return nil, err
	}
	late, err = p.checkSettings(ctx)
	if err != nil {
		p.settings = former
		return nil, errors.Join(err, p.writeSettings())
	}
	return late, p.process.signal(syscall.SIGHUP)
}

// checkSettings looks at the files as they are now, not at what is in force.
func (p *Postgres) checkSettings(ctx context.Context) (late, err error) {
	var name, reason string
	var onlyStart bool
	err = p.query(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT coalesce(f.name, f.sourcefile), f.error, s.context IS NOT DISTINCT FROM 'postmaster'
			FROM pg_file_settings f LEFT JOIN pg_settings s USING (name)
			WHERE f.error IS NOT NULL ORDER BY 3, f.seqno LIMIT 1`).Scan(&name, &reason, &onlyStart)
	})
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("check the server's settings: %w", err)
	case onlyStart:
		return fmt.Errorf("change %s: only the next start changes it", name), nil
	default:
		return nil, fmt.Errorf("change %s: %s", name, reason)
	}
}

// loaded returns when a new connection's configuration was read.
func (p *Postgres) loaded(ctx context.Context) (at time.Time, err error) {
	err = p.query(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, "SELECT pg_conf_load_time()").Scan(&at)
	})
	return at, err
}
