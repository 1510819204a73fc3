package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"casq/internal/admin"
	"casq/internal/pause"
	"casq/internal/programs/bench/measure"
	"casq/internal/token"
	"casq/internal/worker"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	glanceLeast = 100_000 // rows of the reference
	glancePage  = 500_000 // rows that are made at once
	glanceLooks = 5       // in a round
	glanceToken = "token-of-the-benchmark"
)

// glanceSQL is what is waited for by people and monitors, in SQL.
var glanceSQL = []struct{ name, sql string }{
	{"health", "SELECT * FROM casq.health()"},
	{"health_sentence", "SELECT casq.health_sentence()"},
	{"replication_lags", "SELECT * FROM casq.replication_lags"},
	{"registry_summary", "SELECT * FROM casq.registry_summary"},
	{"registry_failures", "SELECT * FROM casq.registry_failures"},
	{"at_risk", "SELECT * FROM casq.at_risk"},
	{"follower_status", "SELECT * FROM casq.follower_status"},
	{"cursor_status", "SELECT * FROM casq.cursor_status"},
	{"counter_status", "SELECT * FROM casq.counter_status"},
	{"reconcile_report", "SELECT * FROM casq.reconcile_report"},
	{"registry_status", "SELECT * FROM casq.registry_status WHERE kind = 'resource' AND resource_id = 'resources/000050001'"},
	{"why", "SELECT casq.why('resource', 'resources/000050001')"},
}

// glances: milliseconds that people and monitors wait for each view, for enqueue status, the page
// and /metrics, of a site of so many resources and a tenth as many jobs, a third of which wait,
// and have come over a day. The reference is a site of 100,000 resources. Both take turns.
func glances(most int) func(context.Context, *measure.Bench) ([]measure.Result, error) {
	return func(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
		if most <= glanceLeast {
			return nil, fmt.Errorf("look at %d rows: there is nothing to compare with; more than %d", most, glanceLeast)
		}
		var both []*glanced
		defer func() {
			for _, g := range both {
				err = errors.Join(err, g.close())
			}
		}()
		for _, rows := range []int{glanceLeast, most} {
			m.Say("%d rows", rows)
			g, err := newGlanced(ctx, rows)
			if err != nil {
				return nil, err
			}
			both = append(both, g)
		}
		figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
			for _, g := range both {
				if err := g.round(ctx, f); err != nil {
					return fmt.Errorf("with %d rows: %w", g.rows, err)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		return both[1].results(figures, both[0]), nil
	}
}

// glanced is a site that has so many resources, and a worker that tells of them.
type glanced struct {
	*site
	rows    int
	folder  string // has the worker's folders, and enqueue
	page    string // URLs
	metrics string
	stop    func() error // the worker
}

func newGlanced(ctx context.Context, rows int) (_ *glanced, err error) {
	g := &glanced{rows: rows, stop: func() error { return nil }}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	if g.folder, err = os.MkdirTemp("", "casq-bench-"); err != nil {
		return nil, err
	}
	if g.site, err = newSite(ctx); err != nil {
		return nil, err
	}
	g.log = slog.New(slog.DiscardHandler)
	if err := errors.Join(g.resources(ctx), g.jobs(ctx)); err != nil {
		return nil, err
	}
	for _, sql := range []string{"VACUUM ANALYZE", "CHECKPOINT"} {
		if _, err := g.DB.Exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	// What waits is to stay.
	if err := g.queue.Pause(ctx, "resource"); err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", g.enqueue(), "./cmd/enqueue").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build enqueue: %w: %s", err, out)
	}
	if err := g.work(ctx); err != nil {
		return nil, err
	}
	return g, nil
}

func (g *glanced) enqueue() string { return filepath.Join(g.folder, "enqueue") }

func (g *glanced) close() (err error) {
	err = g.stop()
	if g.site != nil {
		err = errors.Join(err, g.site.close())
	}
	return errors.Join(err, os.RemoveAll(g.folder))
}

// resources makes rows of the registry: of a hundred 96 are synced, one has failed for one of 50
// reasons, and three wait, since any time of the last day.
func (g *glanced) resources(ctx context.Context) error {
	for done := 0; done < g.rows; done += glancePage {
		_, err := g.DB.Exec(ctx, `INSERT INTO casq.registry
			    (kind, resource_id, timeline, event_id, tick, payload, version, synced_version, size, verified_at, failed_version, failure_reason, last_error, queued_at)
			SELECT 'resource', 'resources/' || lpad(i::text, 9, '0'), 1, i, 1, '{"size": 10}', i,
			       CASE WHEN i % 100 > 3 THEN i END, CASE WHEN i % 100 > 3 THEN 10 END, CASE WHEN i % 100 > 3 THEN now() END,
			       CASE WHEN i % 100 = 3 THEN i END, CASE WHEN i % 100 = 3 THEN 'reason ' || i / 100 % 50 END, CASE WHEN i % 100 = 3 THEN 'reason' END,
			       now() - i / 100 * 13 % 86400 * interval '1 s'
			FROM generate_series($1::bigint, $2::bigint) AS i`, done+1, min(done+glancePage, g.rows))
		if err != nil {
			return fmt.Errorf("make resources: %w", err)
		}
	}
	_, err := g.DB.Exec(ctx, "SELECT setval('casq.registry_version', $1)", g.rows)
	return err
}

// jobs makes those of what waits, of what has failed, and of some of what is done.
func (g *glanced) jobs(ctx context.Context) error {
	_, err := g.DB.Exec(ctx, `INSERT INTO river.river_job (state, queue, priority, kind, args, max_attempts, scheduled_at, finalized_at)
		SELECT (CASE WHEN i % 100 < 3 THEN 'available' WHEN i % 100 = 3 THEN 'retryable' ELSE 'completed' END)::river.river_job_state,
		       'resource', 1 + (i / 100 % 2)::int, 'casq_sync', jsonb_build_object('kind', 'resource', 'resource_id', 'resources/' || lpad(i::text, 9, '0'), 'version', i), 25,
		       now() - i / 100 * 13 % 86400 * interval '1 s' + CASE WHEN i % 100 = 3 THEN interval '2 days' ELSE '0' END, CASE WHEN i % 100 > 3 THEN now() END
		FROM generate_series(1, $1::bigint) AS i WHERE i % 100 < 10`, g.rows)
	if err != nil {
		return fmt.Errorf("make jobs: %w", err)
	}
	return nil
}

// work starts a worker, and returns when it tells of itself.
func (g *glanced) work(ctx context.Context) error {
	source, target := filepath.Join(g.folder, "source"), filepath.Join(g.folder, "target")
	if err := errors.Join(os.Mkdir(source, 0o755), os.Mkdir(target, 0o755)); err != nil {
		return err
	}
	var addrs [2]string
	for i := range addrs {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		addrs[i] = l.Addr().String()
		if err := l.Close(); err != nil {
			return err
		}
	}
	tokens, err := token.Parse("bench:" + glanceToken)
	if err != nil {
		return err
	}
	g.page, g.metrics = "http://"+addrs[0]+"/", "http://"+addrs[1]+"/metrics"
	inner, halt := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- worker.Run(inner, worker.Config{
			HomeURL: g.URL, ArtifactSource: source, ArtifactTarget: target, Logger: g.log,
			AdminAddr: addrs[0], AdminDoor: admin.Door{Tokens: tokens}, HTTPAddr: addrs[1],
		})
	}()
	g.stop = func() error { halt(); return <-done }
	begun, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := errors.Join(g.get(begun, g.page), g.get(begun, g.metrics))
		if err == nil || pause.For(begun, 100*time.Millisecond) != nil {
			return err
		}
	}
}

// get reads a page, with the token of who may see it.
func (g *glanced) get(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+glanceToken)
	response, err := (&http.Client{Timeout: time.Minute}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, response.Status)
	}
	return nil
}

// command runs enqueue, whose answer nobody reads.
func (g *glanced) command(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, g.enqueue(), args...)
	cmd.Env = []string{"DATABASE_URL=" + g.URL}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("enqueue %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// glanceHTTP and the commands are looked at, too.
const (
	glanceHTML     = "page"
	glanceScrape   = "metrics"
	glanceStatus   = "enqueue status"
	glanceVersion  = "enqueue --version" // which asks nothing: what a process costs
	buffersOf      = " buffers"
	processorOf    = " cpu"
	millisecondsOf = " ms"
)

// round looks at everything some times, once beforehand.
func (g *glanced) round(ctx context.Context, f *measure.Figures) error {
	conn, err := g.DB.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	for _, view := range glanceSQL {
		if err := g.look(ctx, f, conn, view.name, view.sql); err != nil {
			return fmt.Errorf("%s: %w", view.name, err)
		}
	}
	for name, do := range map[string]func() error{
		glanceHTML:    func() error { return g.get(ctx, g.page) },
		glanceScrape:  func() error { return g.get(ctx, g.metrics) },
		glanceStatus:  func() error { return g.command(ctx, "status") },
		glanceVersion: func() error { return g.command(ctx, "--version") },
	} {
		for i := range glanceLooks + 1 {
			began := time.Now()
			if err := do(); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if i > 0 {
				f.Add(g.key(name)+millisecondsOf, measure.Milliseconds(began))
			}
		}
	}
	return nil
}

func (g *glanced) key(name string) string { return fmt.Sprintf("%s %d", name, g.rows) }

// look notes how long a statement takes, how long its server process was on a processor
// meanwhile, and how many buffers it touched.
func (g *glanced) look(ctx context.Context, f *measure.Figures, conn *pgxpool.Conn, name, sql string) error {
	for i := range glanceLooks + 1 {
		before, err := onProcessor(conn.Conn().PgConn().PID())
		if err != nil {
			return err
		}
		began := time.Now()
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
		took := measure.Milliseconds(began)
		after, err := onProcessor(conn.Conn().PgConn().PID())
		if err != nil {
			return err
		}
		if i > 0 {
			f.Add(g.key(name)+millisecondsOf, took)
			f.Add(g.key(name)+processorOf, after-before)
		}
	}
	buffers, err := touched(ctx, conn, sql)
	f.Add(g.key(name)+buffersOf, buffers)
	return err
}

// onProcessor is how many milliseconds a process has been on a processor.
func onProcessor(pid uint32) (float64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(stat), " ")
	ns, err := strconv.ParseFloat(first, 64)
	return ns / 1e6, err
}

// touched is how many buffers a statement finds or reads.
func touched(ctx context.Context, conn *pgxpool.Conn, sql string) (float64, error) {
	var text []byte
	if err := conn.QueryRow(ctx, "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "+sql).Scan(&text); err != nil {
		return 0, err
	}
	var plans []struct {
		Plan struct {
			Hit  float64 `json:"Shared Hit Blocks"`
			Read float64 `json:"Shared Read Blocks"`
		}
	}
	if err := json.Unmarshal(text, &plans); err != nil {
		return 0, err
	}
	return plans[0].Plan.Hit + plans[0].Plan.Read, nil
}

func (g *glanced) results(f *measure.Figures, small *glanced) (results []measure.Result) {
	of := fmt.Sprintf("%d resources and %d jobs, reference: %d and %d", g.rows, g.rows/10, small.rows, small.rows/10)
	for _, view := range glanceSQL {
		what := func(of *glanced) string {
			return fmt.Sprintf("%s ms on a processor, %s buffers", measure.Short(f.Median(of.key(view.name)+processorOf)), measure.Short(f.Median(of.key(view.name)+buffersOf)))
		}
		results = append(results, f.Compare("glance/"+view.name, g.key(view.name)+millisecondsOf, small.key(view.name)+millisecondsOf, "ms",
			fmt.Sprintf("%s; %s; reference: %s", of, what(g), what(small))))
	}
	for _, name := range []string{glanceHTML, glanceScrape, glanceStatus, glanceVersion} {
		results = append(results, f.Compare("glance/"+name, g.key(name)+millisecondsOf, small.key(name)+millisecondsOf, "ms", of))
	}
	return results
}
