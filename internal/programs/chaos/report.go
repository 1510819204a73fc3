package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	shownViolations = 40
	shownLines      = 12
)

// report prints what was found, each with what the registry says of the resource
// and what the workers logged of it last.
func (c *chaos) report(ctx context.Context, found []violation) error {
	for i, v := range found {
		if i == shownViolations {
			fmt.Fprintf(c.cfg.out, "... and %d more\n", len(found)-i)
			break
		}
		fmt.Fprintf(c.cfg.out, "VIOLATION  %s\n", v.text)
		if v.key == "" {
			continue
		}
		var why string
		if err := c.site.home.DB.QueryRow(ctx, "SELECT casq.why($1, $2)", v.kind, v.key).Scan(&why); err != nil {
			return fmt.Errorf("ask why: %w", err)
		}
		fmt.Fprintf(c.cfg.out, "    why    %s\n", why)
		for _, line := range c.logged(v.key) {
			fmt.Fprintf(c.cfg.out, "    log    %s\n", line)
		}
	}
	return nil
}

// logged returns the last lines about a resource in each worker's log.
func (c *chaos) logged(key string) (last []string) {
	files, err := filepath.Glob(c.work.path(logs, "*.log"))
	if err != nil {
		return nil
	}
	for _, file := range files {
		lines := linesWith(file, `"`+key+`"`)
		last = append(last, lines[max(0, len(lines)-shownLines/len(files)):]...)
	}
	return last
}

func linesWith(file, text string) (lines []string) {
	log, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer log.Close()
	scanner := bufio.NewScanner(log)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if strings.Contains(scanner.Text(), text) {
			lines = append(lines, scanner.Text())
		}
	}
	return lines
}

// preserve writes tables of both sites into a folder beside the logs that are kept:
// the servers are not.
func (c *chaos) preserve(ctx context.Context, folder string) error {
	if err := os.MkdirAll(c.work.path(folder), 0o700); err != nil {
		return err
	}
	var errs []error
	for _, place := range []struct {
		name   string
		pool   *pgxpool.Pool
		tables []string
	}{
		{"source", c.site.source.DB, []string{
			"casq.events", "casq.ticks", "casq.timelines", "casq.processes", "casq.scans", "casq.counters",
			"artifacts", "repositories", "casq.builds", "casq.build_needs", "casq.build_traces", "casq.artifacts", "casq.artifact_leftovers",
		}},
		{"home", c.site.home.DB, []string{
			"casq.registry", "casq.registry_status", "casq.cursors", "casq.processes", "casq.event_failures",
			"casq.reconcile_runs", "recorded", "rewound",
		}},
	} {
		for _, table := range place.tables {
			errs = append(errs, dump(ctx, place.pool, "TABLE "+table, c.work.path(folder, place.name+"-"+table+".csv")))
		}
		errs = append(errs, dump(ctx, place.pool, checkSQL.JobRows, c.work.path(folder, place.name+"-jobs.csv")))
	}
	return errors.Join(errs...)
}

func dump(ctx context.Context, pool *pgxpool.Pool, query, file string) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("keep %s: %w", filepath.Base(file), err)
	}
	defer conn.Release()
	if _, err := conn.Conn().PgConn().CopyTo(ctx, out, "COPY ("+query+") TO STDOUT CSV HEADER"); err != nil {
		return fmt.Errorf("keep %s: %w", filepath.Base(file), err)
	}
	return nil
}
