// Package testdb gives each test a migrated database of its own on a private
// Postgres, and whole clusters to those that kill, promote or pause servers.
//
// [New] clones a database from a migrated template in some 10 ms. All tests of
// a process share one primary, started by the first of them and stopped by
// [Main]. With CASQ_TEST_DATABASE_URL set, New uses that server instead, where
// it makes and drops databases and roles whose names start with casq_test_, and
// nothing else. DATABASE_URL and REDIS_URL are never looked at.
//
// CASQ_TEST_POSTGRES, CASQ_TEST_CLOCK, CASQ_TEST_SETTINGS, CASQ_TEST_MESSAGES
// and CASQ_TEST_OWNER make the same tests run in the world of a stranger: another
// version, another clock, an application's settings, another language, an ordinary role. `make matrix` does.
package testdb

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"
)

// timeout is for one step of the preparation of a test: a server's start on a
// busy machine takes 2 s.
const timeout = time.Minute

// Main runs a package's tests, stops the servers, and fails when goroutines are
// left. Call it from TestMain; it exits.
func Main(m *testing.M, options ...goleak.Option) { os.Exit(Run(m, options...)) }

// Run is [Main] for a TestMain that has more to do: it returns the exit code.
func Run(m interface{ Run() int }, options ...goleak.Option) int {
	code := m.Run()
	if err := shared.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the tests' servers:", err)
		code = 1
	}
	if code == 0 {
		if err := goleak.Find(options...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	return code
}

// DB is a database of one test. It is dropped when the test ends, whoever is
// still connected.
type DB struct {
	// Name is the database's name.
	Name string
	// URL reaches the database as its owner: a superuser, unless
	// CASQ_TEST_OWNER says otherwise.
	URL string

	shared *sharedServer
}

var (
	databases atomic.Int64
	roles     atomic.Int64
)

// New returns a migrated database.
func New(t testing.TB) *DB {
	t.Helper()
	return newDB(t, func(s *sharedServer, ctx context.Context) (string, error) { return s.template(ctx) })
}

// Empty returns a database without migrations.
func Empty(t testing.TB) *DB {
	t.Helper()
	return newDB(t, func(*sharedServer, context.Context) (string, error) { return "template0", nil })
}

func newDB(t testing.TB, template func(*sharedServer, context.Context) (string, error)) *DB {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	s, err := shared.get(ctx)
	if err != nil {
		t.Fatalf("prepare the tests' server: %v", err)
	}
	from, err := template(s, ctx)
	if err != nil {
		t.Fatalf("prepare the template database: %v", err)
	}
	name := fmt.Sprintf("%s_%d", s.prefix, databases.Add(1))
	if err := s.create(ctx, name, from); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := s.drop(ctx, name); err != nil {
			t.Error(err)
		}
	})
	if err := s.around.set(ctx, s.control, name); err != nil {
		t.Fatal(err)
	}
	return &DB{Name: name, URL: s.urlOf(name), shared: s}
}

// Pool returns a pool of connections to URL, closed when the test ends.
func (d *DB) Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Pool(t, d.URL)
}

// Pool returns a pool of connections to any URL, closed when the test ends.
func Pool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatalf("read a database URL: %v", err)
	}
	around, err := around()
	if err != nil {
		t.Fatal(err)
	}
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		maps.Copy(c.RuntimeParams, around.next())
		return nil
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatalf("open a pool: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// RoleURL returns a URL of the database for a new ordinary role, which may log
// in and nothing else. Each call makes another role; they are dropped with what
// they own when the test ends.
func (d *DB) RoleURL(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	role := fmt.Sprintf("%s_role_%d", d.shared.prefix, roles.Add(1))
	result, err := d.shared.makeRole(ctx, role, d.Name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := d.shared.dropRole(ctx, role, d.shared.url(d.Name)); err != nil {
			t.Error(err)
		}
	})
	return result
}

// RoleName returns the role that a URL connects as, to grant something to it.
func RoleName(t testing.TB, databaseURL string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatalf("read a database URL: %v", err)
	}
	return u.User.Username()
}
