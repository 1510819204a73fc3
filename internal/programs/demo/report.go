package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// figures is what the table shows.
type figures struct {
	files, repositories, refs int
	bytes                     int64 // of the files
	repositoryBytes           int64

	events, ticks, jobs int64
	superseded          int64 // -1: the worker did not say
	failed              int64

	preparing, following, comparing time.Duration
}

func (f *figures) countFiles(files map[string]content) {
	f.files, f.bytes = len(files), 0
	for _, c := range files {
		f.bytes += c.size
	}
}

// count asks both sites for what only they know.
func (d *demo) count(ctx context.Context) error {
	f := &d.figures
	if err := d.primary.DB.QueryRow(ctx, demoSQL.Log).Scan(&f.events, &f.ticks); err != nil {
		return fmt.Errorf("count events and ticks: %w", err)
	}
	if err := d.second.DB.QueryRow(ctx, "SELECT count(*) FROM river.river_job").Scan(&f.jobs); err != nil {
		return fmt.Errorf("count jobs: %w", err)
	}
	f.superseded = -1
	d.followed.eachLine(func(_ string, record map[string]any) {
		if n, ok := record["superseded"].(float64); ok {
			f.superseded = max(f.superseded, 0) + int64(n)
			failed, _ := record["failed"].(float64)
			f.failed += int64(failed)
		}
	})
	f.repositoryBytes = bytesBelow(d.places.secondRepositories)
	return nil
}

// report prints the table, what was left out, and how to inspect both sites.
func (d *demo) report(differences []string) {
	f := &d.figures
	seconds := f.following.Seconds()
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, value, note string) { fmt.Fprintf(table, "  %s\t%s\t%s\n", name, value, note) }
	row("resources", thousands(f.files+f.repositories), fmt.Sprintf("%s files, %d repositories with %d refs", thousands(f.files), f.repositories, f.refs))
	row("bytes", thousands(f.bytes+f.repositoryBytes), fmt.Sprintf("%s of files, %s of repositories", bytesText(f.bytes), bytesText(f.repositoryBytes)))
	row("events", thousands(f.events), d.changeText())
	row("ticks", thousands(f.ticks), "")
	row("jobs", thousands(f.jobs), "")
	row("superseded", supersededText(f.superseded), "jobs whose version was no longer wanted")
	row("seconds", fmt.Sprintf("%.1f", seconds), fmt.Sprintf("from the first row until nothing was left to do; %.1f before, %.1f to compare",
		f.preparing.Seconds(), f.comparing.Seconds()))
	row("events/s", fmt.Sprintf("%.0f", float64(f.events)/seconds), "")
	row("files/s", fmt.Sprintf("%.0f", float64(f.files)/seconds), "")
	_ = table.Flush() // into memory
	d.out.line("\n%s", b.String())
	if len(differences) == 0 {
		d.out.line("equal       every file by its SHA-256, every ref of every repository and HEAD; source and repository are as they were")
		d.out.line("counted     %s", d.recount.text())
		d.out.line("built       %s", d.built.text())
	}
	for _, line := range d.scan.skipped.lines() {
		d.out.line("skipped     %s", line)
	}
	d.inspectText()
}

func supersededText(n int64) string {
	if n < 0 {
		return "unknown"
	}
	return thousands(n)
}

// changeText says what happened beside the loading.
func (d *demo) changeText() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(d.churner.counts)) {
		parts = append(parts, fmt.Sprintf("%s %s", thousands(d.churner.counts[name]), name))
	}
	return fmt.Sprintf("%s; %d pushes", strings.Join(parts, ", "), d.pusher.pushes)
}

// questions are what one may want to ask the databases: true is the second
// site's.
var questions = []struct {
	second bool
	sql    string
}{
	{false, "SELECT kind, op, count(*) FROM casq.events GROUP BY 1, 2 ORDER BY 1, 2"},
	{false, "SELECT id, taken_at, snapshot FROM casq.ticks ORDER BY id DESC LIMIT 5"},
	{false, "SELECT * FROM casq.statistics"},
	{false, "SELECT id, status, attempt, assigned_at - pending_at AS waited FROM casq.builds"},
	{true, "SELECT * FROM casq.registry_summary"},
	{true, "SELECT name, tick, epoch, holder, moved_at FROM casq.cursors"},
	{true, "SELECT casq.why(kind, resource_id) FROM casq.registry ORDER BY version DESC LIMIT 5"},
}

// inspectText prints how to inspect both sites.
func (d *demo) inspectText() {
	if !d.kept {
		d.out.line("To inspect both sites, keep them (make demo KEEP=1), which prints commands like these:")
	} else {
		d.out.line("Both sites are kept in %s:", d.work.dir)
		d.out.line("  files and repositories   %s", d.work.path("{primary,second}"))
		d.out.line("  start, stop the servers  %s start|stop", d.work.path(keeperName))
		d.out.line("  remove everything        %s remove", d.work.path(keeperName))
	}
	for _, q := range questions {
		url := "<primary site>"
		if q.second {
			url = "<second site>"
		}
		if d.kept {
			url = d.primary.URL
			if q.second {
				url = d.second.URL
			}
		}
		d.out.line("  psql '%s' -c %q", url, q.sql)
	}
}
