// Package builds plays the races of the build queue, as package races does those of
// the rest.
package builds

import (
	"context"
	"flag"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"casq/internal/pause"
	"casq/internal/testing/expect"
	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) {
	// "make races" has one of them, and CI all.
	flag.Parse()
	if testing.Short() {
		fmt.Println("races are not played with -short")
		os.Exit(0)
	}
	testdb.Main(m)
}

var must = expect.NoError

// database returns a pool for a database of the test's own.
func database(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return testdb.New(t).Pool(t)
}

type query interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// exec runs a statement, or several without parameters.
func exec(t testing.TB, db query, sql string, args ...any) {
	t.Helper()
	_, err := db.Exec(t.Context(), sql, args...)
	must(t, err)
}

// one reads one value.
func one[T any](t testing.TB, db query, sql string, args ...any) (value T) {
	t.Helper()
	must(t, db.QueryRow(t.Context(), sql, args...).Scan(&value))
	return value
}

// point stops whoever comes to a named point of the code, the first so many times.
type point struct {
	name    string
	mu      sync.Mutex
	left    int
	reached chan struct{}
	goOn    chan struct{}
}

func stopAt(name string, times int) *point {
	return &point{name: name, left: times, reached: make(chan struct{}, times), goOn: make(chan struct{})}
}

func (p *point) hook(name string) {
	if name != p.name {
		return
	}
	p.mu.Lock()
	stops := p.left > 0
	p.left--
	p.mu.Unlock()
	if stops {
		p.reached <- struct{}{}
		<-p.goOn
	}
}

// entered counts the requests that wait.
type entered chan struct{}

func (e entered) hook(name string) {
	if name == "entered" {
		e <- struct{}{}
	}
}

// await returns when something is so.
func await(t testing.TB, is func() bool) {
	t.Helper()
	for !is() {
		must(t, pause.For(t.Context(), 5*time.Millisecond))
	}
}

// begin begins a transaction that the test holds open.
func begin(t testing.TB, pool *pgxpool.Pool) pgx.Tx {
	t.Helper()
	opened, err := pool.Begin(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = opened.Rollback(context.WithoutCancel(t.Context())) }) // it has ended, as a rule
	return opened
}
