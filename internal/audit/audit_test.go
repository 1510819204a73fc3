package audit_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"casq/internal/audit"
	"casq/internal/database"
	"casq/internal/testing/long"
	"casq/internal/testing/testdb"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// setup returns a pool of one connection, so that each statement may meet what the session
// was told before; and a kind that can be changed.
func setup(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool, err := database.Open(t.Context(), testdb.New(t).URL, database.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	exec(t.Context(), t, pool, "SELECT casq.define_kind('artifact', 'file')")
	return pool
}

func exec(ctx context.Context, t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(ctx, sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func recorded(t *testing.T, pool *pgxpool.Pool) (text string) {
	t.Helper()
	err := pool.QueryRow(t.Context(), "SELECT coalesce(string_agg(action || ' ' || changed, '; ' ORDER BY asked_at), '') FROM casq.audit").Scan(&text)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func request(action string) audit.Request {
	return audit.Request{ID: uuid.New(), Actor: "eve", Via: "cli", Origin: "host", Action: action}
}

const change = "INSERT INTO casq.selections AS s (kind, scopes) VALUES ($1, '{}') ON CONFLICT (kind) DO UPDATE SET generation = s.generation + 1"

// A row is there if what it tells has committed: not of a transaction that is rolled
// back, not of a statement that changes nothing, and not of what the same connection
// does for somebody else afterwards.
func TestARequestIsRecordedWithWhatItChanges(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	errBack := errors.New("back")
	err := pgx.BeginFunc(audit.With(t.Context(), request("rolled back")), pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), change, "artifact"); err != nil {
			t.Fatal(err)
		}
		return errBack
	})
	if !errors.Is(err, errBack) {
		t.Fatal(err)
	}
	exec(audit.With(t.Context(), request("nothing")), t, pool, "UPDATE casq.selections SET scopes = NULL")
	exec(t.Context(), t, pool, change, "nobody's")
	twice := audit.With(t.Context(), request("twice"))
	exec(twice, t, pool, change, "artifact")
	exec(twice, t, pool, "UPDATE casq.selections SET scopes = NULL")
	exec(audit.With(t.Context(), request("another")), t, pool, change, "artifact")
	exec(t.Context(), t, pool, change, "nobody's")
	if got, want := recorded(t, pool), `twice {"selections": 3}; another {"selections": 1}`; got != want {
		t.Errorf("recorded is %q, want %q", got, want)
	}
}

// Texts are bounded by the database, whatever they are made of.
func TestLongTextsAreCutOff(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	long := audit.Request{
		ID: uuid.New(), Actor: strings.Repeat("\U0001F600", 1000), Via: strings.Repeat("v", 1000), Origin: strings.Repeat("\x1b", 1000),
		Action: strings.Repeat("<ä", 5000),
	}
	exec(audit.With(t.Context(), long), t, pool, change, "artifact")
	var lengths string
	err := pool.QueryRow(t.Context(), "SELECT concat_ws(' ', length(actor), length(via), length(origin), length(action)) FROM casq.audit").Scan(&lengths)
	if err != nil || lengths != "200 20 200 1000" {
		t.Errorf("lengths are %q: %v", lengths, err)
	}
}

const move = "UPDATE casq.kinds SET prefix = $1"

// as returns a pool of a new role that does what a worker or an operator does.
func as(t *testing.T, db *testdb.DB, what string) *pgxpool.Pool {
	t.Helper()
	url := db.RoleURL(t)
	if _, err := db.Pool(t).Exec(t.Context(), "SELECT casq.grant_to($1::text::regrole, $2)", testdb.RoleName(t, url), what); err != nil {
		t.Fatal(err)
	}
	pool, err := database.Open(t.Context(), url, database.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// No operator adds to what another role has asked for.
func TestARequestOfAnotherRoleIsRefused(t *testing.T) {
	t.Parallel()
	db := testdb.New(t)
	exec(t.Context(), t, db.Pool(t), "SELECT casq.define_kind('artifact', 'file')")
	mine := audit.With(t.Context(), request("mine"))
	exec(mine, t, as(t, db, "worker"), move, "a")
	_, err := as(t, db, "operator").Exec(mine, move, "b")
	if err == nil || !strings.Contains(err.Error(), "is another role's") {
		t.Errorf("the error is %v", err)
	}
}

// What one worker was asked for another one goes on with, also where each has a role of its
// own. The row keeps the role of the first.
func TestAWorkerOfAnotherRoleGoesOn(t *testing.T) {
	long.Test(t)
	t.Parallel()
	db := testdb.New(t)
	pool, theirs := db.Pool(t), audit.With(t.Context(), request("theirs"))
	exec(t.Context(), t, pool, "SELECT casq.define_kind('artifact', 'file')")
	first := as(t, db, "worker")
	exec(theirs, t, first, move, "a")
	exec(theirs, t, as(t, db, "worker"), move, "b")
	if got, want := recorded(t, pool), `theirs {"kinds": 2}`; got != want {
		t.Errorf("recorded is %q, want %q", got, want)
	}
	var same bool
	if err := first.QueryRow(t.Context(), "SELECT role = session_user FROM casq.audit").Scan(&same); err != nil || !same {
		t.Errorf("its role has changed: %v", err)
	}
}

// The connection of a server that was restarted is not handed out.
func TestALostConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pid := conn.Conn().PgConn().PID()
	conn.Release()
	other, err := database.Open(t.Context(), pool.Config().ConnString(), database.Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	exec(t.Context(), t, other, "SELECT pg_terminate_backend($1, 5000)", pid)
	exec(audit.With(t.Context(), request("after it")), t, pool, change, "artifact")
	if got, want := recorded(t, pool), `after it {"selections": 1}`; got != want {
		t.Errorf("recorded is %q, want %q", got, want)
	}
}
