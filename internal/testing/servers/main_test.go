package servers

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"casq/internal/testing/expect"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(runChild())
	}
	logging.Disable() // A server that is down is what is tested.
	code := m.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	if current != nil && code == 0 {
		fmt.Fprintf(os.Stderr, "%d servers of %s were not stopped\n", current.servers, current.dir)
		code = 1
	}
	os.Exit(code)
}

// limit ends a test's context before the test binary's time is over.
func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// brief is for what must not happen; 300 ms is a hundred times what the
// operation takes when nothing holds it.
func brief(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

var must = expect.NoError

// folder returns a new folder that the servers' user can reach, which
// t.TempDir is not for everybody.
func folder(t *testing.T) string {
	t.Helper()
	user, err := currentAccount()
	must(t, err)
	base, err := baseDir(user)
	must(t, err)
	dir, err := os.MkdirTemp(base, "casq-test-") //nolint:usetesting // See above.
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, user.own(dir))
	return dir
}

func stopAtEnd(t *testing.T, s interface{ Stop(context.Context) error }) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
}

func startPostgres(t *testing.T, options PostgresOptions) *Postgres {
	t.Helper()
	p, err := StartPostgres(limit(t), options)
	must(t, err)
	stopAtEnd(t, p)
	return p
}

func startStandby(t *testing.T, p *Postgres, options StandbyOptions) *Postgres {
	t.Helper()
	s, err := p.Standby(limit(t), options)
	must(t, err)
	stopAtEnd(t, s)
	return s
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(limit(t), url)
	must(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

// value asks for one value over a connection of its own.
func value[T any](t *testing.T, url, sql string, args ...any) (v T) {
	t.Helper()
	conn, err := pgx.Connect(limit(t), url)
	must(t, err)
	defer conn.Close(context.Background())
	must(t, conn.QueryRow(limit(t), sql, args...).Scan(&v))
	return v
}
