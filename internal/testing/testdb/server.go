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
	"sync"

	"casq/internal/testing/servers"
	"casq/migrations"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	variable = "CASQ_TEST_DATABASE_URL"
	// lockClass is the first half of the advisory lock that a run holds while
	// it lives; the second is its id.
	lockClass = 0x63617371
)

// sharedServer is the server that the tests of this process use together.
type sharedServer struct {
	server
	postgres *servers.Postgres // nil when it is somebody else's
	prefix   string
	holder   *pgxpool.Conn
	around   surroundings
	// owner is the ordinary role that databases belong to, where they do.
	owner    string
	ownerURL string

	templateOnce sync.Once
	templateName string
	templateErr  error
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
		o.server, o.err = startShared(ctx, os.Getenv(variable))
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

// startShared prepares the server that base names, or a private one.
func startShared(ctx context.Context, base string) (*sharedServer, error) {
	around, err := around()
	if err != nil {
		return nil, err
	}
	s := &sharedServer{around: around}
	if base == "" {
		postgres, err := servers.StartPostgres(ctx, around.apply(servers.PostgresOptions{}))
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
	if err := s.sweep(ctx); err != nil || !s.around.ordinary {
		return err
	}
	s.owner = s.prefix + "_role_owner"
	s.ownerURL, err = s.makeRole(ctx, s.owner, "postgres")
	return err
}

// urlOf is how tests reach a database: as its owner.
func (s *sharedServer) urlOf(database string) string {
	if s.owner == "" {
		return s.url(database)
	}
	u, err := url.Parse(s.ownerURL)
	if err != nil {
		panic(err)
	}
	u.Path = "/" + database
	return u.String()
}

// stop drops the template and gives the server back.
func (s *sharedServer) stop(ctx context.Context) error {
	var err error
	if s.postgres == nil && s.prefix != "" {
		err = s.drop(ctx, s.prefix+"_template")
	}
	if s.postgres == nil && s.owner != "" {
		_, dropErr := s.control.Exec(ctx, "DROP ROLE "+quote(s.owner))
		err = errors.Join(err, dropErr)
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

// template returns the migrated database, made by the first who asks.
func (s *sharedServer) template(ctx context.Context) (string, error) {
	s.templateOnce.Do(func() { s.templateName, s.templateErr = s.makeTemplate(ctx) })
	return s.templateName, s.templateErr
}

// makeTemplate makes a migrated database that nobody can connect to: a
// connection would make cloning fail. Each run has its own, since it knows
// nothing of the migrations of others.
func (s *sharedServer) makeTemplate(ctx context.Context) (string, error) {
	name := s.prefix + "_template"
	if err := s.create(ctx, name, "template0"); err != nil {
		return "", err
	}
	err := migrations.Up(ctx, s.urlOf(name), slog.New(slog.DiscardHandler))
	if err == nil {
		_, err = s.control.Exec(ctx, "ALTER DATABASE "+quote(name)+" ALLOW_CONNECTIONS false")
	}
	if err != nil {
		return "", fmt.Errorf("migrate the template database: %w", err)
	}
	return name, nil
}
