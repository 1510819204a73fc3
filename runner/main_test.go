package runner_test

import (
	"net/http"
	"testing"

	"casq/internal/testing/expect"
	"casq/internal/testing/runnertest"
	"casq/internal/testing/testdb"
	"casq/runner"

	"github.com/jackc/pgx/v5/pgxpool"
)

func TestMain(m *testing.M) { testdb.Main(m) }

var must = expect.NoError

type (
	answer = runnertest.Answer
	body   = runnertest.Body
)

// bench is a coordinator on a database of its own, where ticks are taken.
type bench struct {
	t      testing.TB
	pool   *pgxpool.Pool
	c      *runnertest.Coordinator
	url    string
	client *http.Client
}

func newBench(t testing.TB, options runner.Options) *bench {
	t.Helper()
	return benchOn(t, testdb.New(t).Pool(t), options)
}

func benchOn(t testing.TB, pool *pgxpool.Pool, options runner.Options) *bench {
	t.Helper()
	runnertest.Ticks(t, pool)
	c := runnertest.New(t, pool, options)
	return &bench{t: t, pool: pool, c: c, url: c.URL, client: c.Client}
}

func (b *bench) runner(tags ...string) string {
	b.t.Helper()
	return runnertest.Runner(b.t, b.pool, tags...)
}

func (b *bench) enqueue(tags ...string) int64 {
	b.t.Helper()
	return runnertest.Enqueue(b.t, b.pool, tags...)
}

func (b *bench) pipeline(builds ...runner.Build) []int64 {
	b.t.Helper()
	return runnertest.Pipeline(b.t, b.pool, builds...)
}

func (b *bench) status(build int64) string {
	b.t.Helper()
	return runnertest.Status(b.t, b.pool, build)
}

func (b *bench) do(method, path string, body body) answer {
	b.t.Helper()
	return b.c.Do(method, path, body)
}

func (b *bench) request(token, told string) answer {
	b.t.Helper()
	return b.c.Request(token, told)
}
