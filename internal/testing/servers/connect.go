package servers

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// URL returns where pgx and psql find a database of the server, as superuser
// postgres.
func (p *Postgres) URL(database string) string {
	return p.URLFor("postgres", database)
}

// URLFor is [Postgres.URL] for another role, with the password of those that
// [Postgres.RoleURL] makes.
func (p *Postgres) URLFor(role, database string) string {
	u := url.URL{Scheme: "postgres", User: url.User(role), Path: "/" + database}
	if p.tcp {
		u.User = url.UserPassword(role, p.password)
		u.Host = "127.0.0.1:" + strconv.Itoa(p.port)
		u.RawQuery = "sslmode=disable"
	} else {
		// The socket as a parameter: an escaped path as host is not understood
		// by every client.
		u.RawQuery = url.Values{"host": {p.place.socketDir()}, "port": {strconv.Itoa(p.port)}}.Encode()
	}
	return u.String()
}

// RoleURL returns the URL of a database for an ordinary role, which may log in
// and nothing else. The role is made when there is none.
func (p *Postgres) RoleURL(ctx context.Context, role, database string) (string, error) {
	err := p.query(ctx, func(conn *pgx.Conn) error {
		var exists bool
		err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role).Scan(&exists)
		if err != nil || exists {
			return err
		}
		_, err = conn.Exec(ctx, "CREATE ROLE "+pgx.Identifier{role}.Sanitize()+" LOGIN PASSWORD "+quoteLiteral(p.password))
		return err
	})
	if err != nil {
		return "", fmt.Errorf("make role %s: %w", role, err)
	}
	return p.URLFor(role, database), nil
}

// Dir returns the server's folder.
func (p *Postgres) Dir() string { return p.place.dir }

// Exec runs statements that return nothing, as superuser in database postgres.
func (p *Postgres) Exec(ctx context.Context, sql string, args ...any) error {
	return p.query(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql, args...)
		return err
	})
}

// query calls f with a connection of its own to database postgres, by the
// socket. A connection that is kept would be a stale one after a kill.
func (p *Postgres) query(ctx context.Context, f func(*pgx.Conn) error) error {
	config, err := pgx.ParseConfig((&Postgres{member: member{place: p.place}, port: p.port}).URL("postgres"))
	if err != nil {
		return fmt.Errorf("connect to postgres in %s: %w", p.place.dir, err)
	}
	config.RuntimeParams["application_name"] = "casq-servers"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return fmt.Errorf("connect to postgres in %s: %w", p.place.dir, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return f(conn)
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// setPassword gives the superuser the password that URLs over TCP have.
func (p *Postgres) setPassword(ctx context.Context) error {
	if err := p.Exec(ctx, "ALTER ROLE postgres PASSWORD "+quoteLiteral(p.password)); err != nil {
		return fmt.Errorf("set the superuser's password: %w", err)
	}
	return nil
}

func newPassword() (string, error) {
	secret := make([]byte, 16)
	if _, err := rand.Read(secret); err != nil {
		return "", err
	}
	return hex.EncodeToString(secret), nil
}
