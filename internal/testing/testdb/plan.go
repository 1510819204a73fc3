package testdb

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Plan is a node of EXPLAIN's answer.
type Plan struct {
	Type      string `json:"Node Type"`
	Operation string
	Relation  string `json:"Relation Name"`
	Index     string `json:"Index Name"`
	Cond      string `json:"Index Cond"`
	Plans     []Plan

	Hit  int `json:"Shared Hit Blocks"`
	Read int `json:"Shared Read Blocks"`
}

// Explain returns the plan of a statement, and its text.
func Explain(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) (p Plan, text string) {
	t.Helper()
	return explain(t, pool, "EXPLAIN (FORMAT JSON) "+sql, args)
}

// Querier is a connection, or a pool of them.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Buffers runs a statement and returns how many pages it has read; in a new session those
// of catalogs, too.
func Buffers(t *testing.T, db Querier, sql string, args ...any) int {
	t.Helper()
	p, _ := explain(t, db, "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "+sql, args)
	t.Logf("%d buffers: %s", p.Hit+p.Read, sql)
	return p.Hit + p.Read
}

func explain(t *testing.T, db Querier, sql string, args []any) (p Plan, text string) {
	t.Helper()
	if err := db.QueryRow(t.Context(), sql, args...).Scan(&text); err != nil {
		t.Fatal(err)
	}
	var plans []struct{ Plan Plan }
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		t.Fatal(err)
	}
	return plans[0].Plan, text
}

// Scans are the nodes that read a table. A bitmap of what an index holds under a key is
// as good as the index: its condition is the index's.
func (p Plan) Scans(table string) []Plan {
	var found []Plan
	if p.Relation == table && p.Operation == "" {
		scan := p
		if p.Type == "Bitmap Heap Scan" {
			scan.Type, scan.Cond, scan.Index = p.Plans[0].Type, p.Plans[0].Cond, p.Plans[0].Index
		}
		found = append(found, scan)
	}
	for _, child := range p.Plans {
		found = append(found, child.Scans(table)...)
	}
	return found
}
