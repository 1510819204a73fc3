package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"casq/internal/programs/bench/measure"
)

// appendTables are two that are alike, one of them tracked with all that can be told of it.
const appendTables = `
	CREATE TABLE plain (path text PRIMARY KEY, project bigint NOT NULL, size bigint NOT NULL, sha256 text NOT NULL);
	CREATE TABLE told (LIKE plain INCLUDING ALL);
	SELECT casq.track('told', kind => 'told', transfer => 'none', key_column => 'path', scope_column => 'project',
		size_column => 'size', payload_columns => ARRAY['sha256'])`

// appending: rows a second that an application inserts into a tracked table, one by one in
// transactions of their own, and 1,000 a statement, against a table that is not.
func appending(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if _, err := s.DB.Exec(ctx, appendTables); err != nil {
		return nil, err
	}
	var results []measure.Result
	for _, c := range []struct {
		name             string
		rows, statements int
	}{{"append/one", 1, 2000}, {"append/thousand", 1000, 50}} {
		figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
			for _, table := range []string{"plain", "told"} {
				rate, err := s.insertRows(ctx, table, c.rows, c.statements)
				if err != nil {
					return err
				}
				f.Add(table, rate)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		results = append(results, figures.Compare(c.name, "told", "plain", "rows/s",
			fmt.Sprintf("%d statements of %d rows, one client, each commit durable; reference: a table that is not tracked", c.statements, c.rows)))
	}
	return results, nil
}

// insertRows returns the rate at which a table, emptied before, takes rows.
func (s *site) insertRows(ctx context.Context, table string, rows, statements int) (float64, error) {
	for _, sql := range []string{"DELETE FROM " + table, "TRUNCATE casq.events", "VACUUM " + table, "CHECKPOINT"} {
		if _, err := s.DB.Exec(ctx, sql); err != nil {
			return 0, fmt.Errorf("prepare a round: %w", err)
		}
	}
	insert := "INSERT INTO " + table + ` SELECT 'folder/' || i, i % 100, 4096, repeat('0123456789abcdef', 4) FROM generate_series($1::int, $2::int) AS i`
	conn, err := s.DB.Acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Release()
	start := time.Now()
	for i := range statements {
		if _, err := conn.Exec(ctx, insert, i*rows+1, (i+1)*rows); err != nil {
			return 0, fmt.Errorf("insert into %s: %w", table, err)
		}
	}
	return float64(rows*statements) / time.Since(start).Seconds(), nil
}
