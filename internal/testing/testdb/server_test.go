package testdb

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"casq/internal/testing/expect"
	"casq/internal/testing/long"
	"casq/internal/testing/servers"

	"github.com/jackc/pgx/v5"
)

// somebodys is a server that is not ours, with a database that is not ours.
func somebodys(t *testing.T) *servers.Postgres {
	t.Helper()
	c := NewCluster(t, Unmigrated(), TCP())
	must(t, c.Primary.Exec(t.Context(), "CREATE DATABASE casq_production"))
	must(t, c.Primary.Exec(t.Context(), "CREATE ROLE casq_test_me"))
	return c.Primary
}

var must = expect.NoError

// names lists databases and roles of a server, but for its own.
func names(t *testing.T, p *servers.Postgres) []string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), p.URL("postgres"))
	must(t, err)
	defer conn.Close(context.Background())
	rows, err := conn.Query(t.Context(), `SELECT datname::text FROM pg_database WHERE oid >= 16384
		UNION ALL SELECT rolname FROM pg_roles WHERE oid >= 16384 ORDER BY 1`)
	must(t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	return all
}

// use does with a server what tests do, and leaves a database and a role.
func use(t *testing.T, s *sharedServer) {
	t.Helper()
	template, err := s.template(t.Context())
	must(t, err)
	must(t, s.create(t.Context(), s.prefix+"_1", template))
	_, err = s.makeRole(t.Context(), s.prefix+"_role_1", s.prefix+"_1")
	must(t, err)
	conn, err := pgx.Connect(t.Context(), s.url(s.prefix+"_1"))
	must(t, err)
	_, err = conn.Exec(t.Context(), "GRANT USAGE ON SCHEMA public TO "+quote(s.prefix+"_role_1"))
	must(t, err)
	must(t, conn.Close(t.Context()))
}

func TestSomebodysServerIsLeftAsItWas(t *testing.T) {
	long.Test(t)
	t.Parallel()
	p := somebodys(t)
	before := names(t, p)
	if len(before) != 3 {
		t.Fatalf("the server has %v", before)
	}

	dead, err := startShared(t.Context(), p.URL("postgres"))
	must(t, err)
	use(t, dead)
	alive, err := startShared(t.Context(), p.URL("postgres"))
	must(t, err)
	use(t, alive)
	// As the kernel does for a process that gets SIGKILL.
	must(t, dead.holder.Conn().Close(t.Context()))
	dead.holder.Release()
	dead.control.Close()
	if got := names(t, p); len(got) != len(before)+6 {
		t.Fatalf("two runs left %v", got)
	}

	next, err := startShared(t.Context(), p.URL("postgres"))
	must(t, err)
	got := names(t, p)
	if len(got) != len(before)+3 || strings.Contains(strings.Join(got, " "), dead.prefix) {
		t.Errorf("left after the next start: %v, want nothing of %s and all of %s", got, dead.prefix, alive.prefix)
	}
	must(t, alive.drop(t.Context(), alive.prefix+"_1"))
	must(t, alive.dropRole(t.Context(), alive.prefix+"_role_1", alive.url("postgres")))
	must(t, alive.stop(t.Context()))
	must(t, next.stop(t.Context()))
	if got := names(t, p); !slices.Equal(got, before) {
		t.Errorf("the server has %v, had %v", got, before)
	}
}

func TestServerThatIsNoURLIsRefused(t *testing.T) {
	t.Parallel()
	_, err := startShared(t.Context(), "host=/tmp dbname=postgres")
	if err == nil || !strings.Contains(err.Error(), variable) {
		t.Errorf("got %v", err)
	}
}

// The variables of the program must mean nothing to tests.
func TestVariablesOfTheProgramAreNotRead(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"cluster.go", "database.go", "server.go", "sweep.go", "testdb.go"} {
		content, err := os.ReadFile(file)
		must(t, err)
		for line := range strings.Lines(string(content)) {
			if strings.Contains(line, "env(") && !strings.Contains(line, "env(variable)") {
				t.Errorf("%s reads the environment: %s", file, line)
			}
		}
	}
}
