package testdb

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// server makes databases and roles on a Postgres.
type server struct {
	base    *url.URL
	control *pgxpool.Pool
}

func (s server) url(database string) string {
	u := *s.base
	u.Path = "/" + database
	return u.String()
}

// create clones a database. A copy of the files with a checkpoint takes 10 ms
// where nothing is flushed to the disk, and a copy through the log 17 ms. The
// checkpoints would be felt by all on a server that is somebody else's.
func (s *sharedServer) create(ctx context.Context, name, template string) error {
	strategy := " STRATEGY FILE_COPY"
	if s.postgres == nil {
		strategy = ""
	}
	if s.owner != "" {
		strategy += " OWNER " + quote(s.owner)
	}
	if _, err := s.control.Exec(ctx, "CREATE DATABASE "+quote(name)+" TEMPLATE "+quote(template)+strategy); err != nil {
		return fmt.Errorf("create database %s: %w", name, err)
	}
	return nil
}

func (s server) drop(ctx context.Context, name string) error {
	if _, err := s.control.Exec(ctx, "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop database %s: %w", name, err)
	}
	return nil
}

// makeRole makes a role that may log in and returns a URL for it.
func (s server) makeRole(ctx context.Context, role, database string) (string, error) {
	secret := make([]byte, 16)
	if _, err := rand.Read(secret); err != nil {
		return "", err
	}
	password := hex.EncodeToString(secret)
	if _, err := s.control.Exec(ctx, "CREATE ROLE "+quote(role)+" LOGIN PASSWORD '"+password+"'"); err != nil {
		return "", fmt.Errorf("create role %s: %w", role, err)
	}
	u := *s.base
	u.Path, u.User = "/"+database, url.UserPassword(role, password)
	return u.String(), nil
}

// dropRole drops a role with what it owns and may do in one database.
func (s server) dropRole(ctx context.Context, role, databaseURL string) error {
	conn, err := pgx.Connect(ctx, databaseURL)
	if err != nil {
		return fmt.Errorf("drop role %s: %w", role, err)
	}
	defer conn.Close(ctx)
	for _, statement := range []string{"DROP OWNED BY " + quote(role), "DROP ROLE " + quote(role)} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return fmt.Errorf("drop role %s: %w", role, err)
		}
	}
	return nil
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
