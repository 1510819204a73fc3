package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// row is one of the registry.
type row struct {
	kind, key, status, checksum string
	claimed                     bool
}

// checkRows compares the registry with the application's tables: what is there
// is synced, with the checksum that the table has; all else is removed.
func checkRows(ctx context.Context, c *chaos) (found []violation, err error) {
	sums, refs, err := c.writer.rows(ctx, allFiles(), allRepositories())
	if err != nil {
		return nil, err
	}
	wanted := make(map[[2]string]string) // checksum by kind and key
	for path, sum := range sums {
		wanted[[2]string{kindArtifact, path}] = sum
	}
	left, err := c.farm.Files(ctx)
	if err != nil {
		return nil, err
	}
	for key, sum := range left {
		wanted[[2]string{kindBuilt, key}] = sum
	}
	for path := range refs {
		wanted[[2]string{kindRepository, path}] = ""
	}
	rows, err := c.site.home.DB.Query(ctx, checkSQL.Rows)
	if err != nil {
		return nil, err
	}
	var r row
	_, err = pgx.ForEachRow(rows, []any{&r.kind, &r.key, &r.status, &r.checksum, &r.claimed}, func() error {
		sum, there := wanted[[2]string{r.kind, r.key}]
		delete(wanted, [2]string{r.kind, r.key})
		if text := r.problem(sum, there); text != "" {
			found = append(found, violation{fmt.Sprintf("row of %s %s: %s", r.kind, r.key, text), r.kind, r.key})
		}
		return nil
	})
	for resource := range wanted {
		found = append(found, violation{fmt.Sprintf("%s %s has no row", resource[0], resource[1]), resource[0], resource[1]})
	}
	return found, err
}

// problem says what is wrong with a row of a resource that is there, or is not.
func (r row) problem(sum string, there bool) string {
	switch {
	case r.claimed:
		return "a run holds its claim"
	case there && r.status != "synced":
		return "is " + r.status + ", want synced"
	case !there && r.status != "removed":
		return "is " + r.status + ", and the source has no such resource"
	case there && r.kind != kindRepository && r.checksum != "sha256:"+sum:
		return fmt.Sprintf("says that %.19s is in place, the source has %.12s", r.checksum, sum)
	}
	return ""
}

// checkJobs finds jobs that no worker will ever work on.
func checkJobs(ctx context.Context, c *chaos) ([]violation, error) {
	return c.each(ctx, checkSQL.Jobs, "job is left over: %s")
}

// checkKept finds counts of the registry that are not what it has.
func checkKept(ctx context.Context, c *chaos) ([]violation, error) {
	return c.each(ctx, checkSQL.Kept, "counts of the registry: %s")
}

// checkFailures finds events that were dead-lettered.
func checkFailures(ctx context.Context, c *chaos) ([]violation, error) {
	return c.each(ctx, checkSQL.Failures, "event was dead-lettered: %s")
}

// each makes a violation of each row: kind, key and text.
func (c *chaos) each(ctx context.Context, sql, format string, args ...any) (found []violation, err error) {
	rows, err := c.site.home.DB.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	var kind, key, text string
	_, err = pgx.ForEachRow(rows, []any{&kind, &key, &text}, func() error {
		found = append(found, violation{fmt.Sprintf(format, text), kind, key})
		return nil
	})
	return found, err
}
