package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"casq/internal/programs/bench/measure"

	"github.com/jackc/pgx/v5/pgxpool"
)

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
