package testdb

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"sync"

	"casq/internal/servers"
	"casq/migrations"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	variable = "CASQ_TEST_DATABASE_URL"
	// lockClass is the first half of the advisory lock that a run holds while
	// it lives; the second is its id.
	lockClass = 0x63617371
)

// ownName matches databases and roles of all runs.
var ownName = regexp.MustCompile(`^casq_test_([0-9a-f]{8})_`)

// sharedServer is the server that the tests of this process use together.
type sharedServer struct {
	server
	postgres *servers.Postgres // nil when it is somebody else's
	prefix   string
	holder   *pgxpool.Conn

	templateMutex sync.Mutex
	templateName  string
}

// once holds the server of this process.
type once struct {
	mutex  sync.Mutex
	server *sharedServer
	err    error
}

var shared once

func (o *once) get(ctx context.Context) (*sharedServer, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if o.server == nil && o.err == nil {
		o.server, o.err = startShared(ctx)
	}
	return o.server, o.err
}

func (o *once) stop() error {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if o.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return o.server.stop(ctx)
}

func startShared(ctx context.Context) (*sharedServer, error) {
	s := &sharedServer{}
	base := os.Getenv(variable)
	if base == "" {
		postgres, err := servers.StartPostgres(ctx, servers.PostgresOptions{})
		if err != nil {
			return nil, err
		}
		s.postgres = postgres
		base = postgres.URL("postgres")
	}
	if err := s.open(ctx, base); err != nil {
		return nil, errors.Join(err, s.stop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func (s *sharedServer) open(ctx context.Context, base string) error {
	parsed, err := url.Parse(base)
	if err != nil || (parsed.Scheme != "postgres" && parsed.Scheme != "postgresql") {
		return fmt.Errorf("read %s: want a URL like postgres://user:password@host:5432/postgres", variable)
	}
	s.base = parsed
	if s.control, err = pgxpool.New(ctx, base); err != nil {
		return fmt.Errorf("connect to the tests' server: %w", err)
	}
	id := make([]byte, 4)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	s.prefix = "casq_test_" + hex.EncodeToString(id)
	if s.holder, err = s.control.Acquire(ctx); err != nil {
		return fmt.Errorf("connect to the tests' server: %w", err)
	}
	// Whoever can take this lock knows that this run is over.
	_, err = s.holder.Exec(ctx, "SELECT pg_advisory_lock($1, $2)", lockClass, int32(binary.BigEndian.Uint32(id)))
	if err != nil {
		return fmt.Errorf("lock the run's name: %w", err)
	}
	return s.sweep(ctx)
}

// stop drops the template and gives the server back.
func (s *sharedServer) stop(ctx context.Context) error {
	var err error
	if s.templateName != "" && s.postgres == nil {
		err = s.drop(ctx, s.templateName)
	}
	if s.holder != nil {
		s.holder.Conn().Close(ctx)
		s.holder.Release()
	}
	if s.control != nil {
		s.control.Close()
	}
	if s.postgres != nil {
		err = errors.Join(err, s.postgres.Stop(ctx))
	}
	return err
}

// template returns the migrated database, made by the first who asks. Nobody
// can connect to it afterwards: a connection would make cloning fail.
func (s *sharedServer) template(ctx context.Context) (string, error) {
	s.templateMutex.Lock()
	defer s.templateMutex.Unlock()
	if s.templateName != "" {
		return s.templateName, nil
	}
	name := s.prefix + "_template"
	if err := s.create(ctx, name, "template0"); err != nil {
		return "", err
	}
	err := migrations.Up(ctx, s.url(name), slog.New(slog.DiscardHandler))
	if err == nil {
		_, err = s.control.Exec(ctx, "ALTER DATABASE "+quote(name)+" ALLOW_CONNECTIONS false")
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("migrate the template database: %w", err), s.drop(ctx, name))
	}
	s.templateName = name
	return name, nil
}

// sweep drops what runs that were killed left on a server that lives on.
func (s *sharedServer) sweep(ctx context.Context) error {
	rows, err := s.control.Query(ctx, `SELECT datname, true FROM pg_database
		UNION ALL SELECT rolname, false FROM pg_roles ORDER BY 2 DESC, 1`)
	if err != nil {
		return fmt.Errorf("list what other runs left: %w", err)
	}
	type thing struct {
		Name     string
		Database bool
	}
	things, err := pgx.CollectRows(rows, pgx.RowToStructByPos[thing])
	if err != nil {
		return fmt.Errorf("list what other runs left: %w", err)
	}
	for _, t := range things {
		match := ownName.FindStringSubmatch(t.Name)
		if match == nil {
			continue
		}
		if err := s.dropDead(ctx, match[1], t.Name, t.Database); err != nil {
			return fmt.Errorf("drop %s of a run that was killed: %w", t.Name, err)
		}
	}
	return nil
}

// dropDead drops one thing when the run that made it is over. The lock is of
// the transaction's connection, so it ends with it.
func (s *sharedServer) dropDead(ctx context.Context, id, name string, database bool) error {
	number, err := strconv.ParseUint(id, 16, 32)
	if err != nil {
		return err
	}
	conn, err := s.control.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	var dead bool
	err = conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1, $2)", lockClass, int32(uint32(number))).Scan(&dead)
	if err != nil || !dead {
		return err
	}
	statement := "DROP ROLE IF EXISTS " + quote(name)
	if database {
		statement = "DROP DATABASE IF EXISTS " + quote(name) + " WITH (FORCE)"
	}
	_, err = conn.Exec(ctx, statement)
	_, unlockErr := conn.Exec(ctx, "SELECT pg_advisory_unlock($1, $2)", lockClass, int32(uint32(number)))
	return errors.Join(err, unlockErr)
}

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

func (s server) create(ctx context.Context, name, template string) error {
	if _, err := s.control.Exec(ctx, "CREATE DATABASE "+quote(name)+" TEMPLATE "+quote(template)); err != nil {
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
