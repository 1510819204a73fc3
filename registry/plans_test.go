package registry

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// plan is a node of EXPLAIN's answer.
type plan struct {
	Type      string `json:"Node Type"`
	Operation string
	Relation  string `json:"Relation Name"`
	Index     string `json:"Index Name"`
	Cond      string `json:"Index Cond"`
	Plans     []plan
}

// scans are the nodes that read the registry. A bitmap of what an index holds
// under a key is as good as the index: its condition is the index's.
func (p plan) scans() []plan {
	var found []plan
	if p.Relation == "registry" && p.Operation == "" {
		scan := p
		if p.Type == "Bitmap Heap Scan" {
			scan.Type, scan.Cond = p.Plans[0].Type, p.Plans[0].Cond
		}
		found = append(found, scan)
	}
	for _, child := range p.Plans {
		found = append(found, child.scans()...)
	}
	return found
}

func (b *testBundle) explain(t *testing.T, sql string, args []any) (p plan, text string) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), "EXPLAIN (FORMAT JSON) "+sql, args...).Scan(&text); err != nil {
		t.Fatal(err)
	}
	var plans []struct{ Plan plan }
	if err := json.Unmarshal([]byte(text), &plans); err != nil {
		t.Fatal(err)
	}
	return plans[0].Plan, text
}

// statements are those that run for groups, with the arguments for n rows.
func statements(process uuid.UUID) map[string]func(n int) (sql string, args []any) {
	keys := func(n int) (kinds, ids []string, versions []int64, claims []uuid.UUID) {
		for i := range n {
			kinds, ids = append(kinds, kind), append(ids, fmt.Sprintf("path/to/resource-%07d", i*700))
			versions, claims = append(versions, int64(i+1)), append(claims, uuid.New())
		}
		return kinds, ids, versions, claims
	}
	numbers := func(n int) []int64 { return make([]int64, n) }
	return map[string]func(n int) (string, []any){
		"lock": func(n int) (string, []any) {
			kinds, ids, _, _ := keys(n)
			return claimSQL.Lock, []any{kinds, ids}
		},
		"claim": func(n int) (string, []any) {
			kinds, ids, versions, claims := keys(n)
			return claimSQL.Claim, []any{kinds, ids, versions, claims, numbers(n), process, ErrCancelled.Error()}
		},
		"ask": func(n int) (string, []any) {
			kinds, ids, versions, claims := keys(n)
			return claimSQL.Ask, []any{kinds, ids, versions, claims, ErrCancelled.Error()}
		},
		"lost": func(n int) (string, []any) {
			kinds, ids, versions, claims := keys(n)
			return sweepSQL.Lost, []any{kinds, ids, versions, claims, numbers(n), make([]bool, n), ErrCancelled.Error()}
		},
		"verdict": func(n int) (string, []any) {
			kinds, ids, versions, claims := keys(n)
			return claimSQL.Verdict, []any{kinds, ids, versions, claims, numbers(n), ErrCancelled.Error()}
		},
		"complete": func(n int) (string, []any) {
			kinds, ids, versions, claims := keys(n)
			flags := make([]bool, n)
			return claimSQL.Complete, []any{
				kinds, ids, versions, claims, flags, make([]*string, n), make([]*int64, n),
				make([]*string, n), make([]*time.Time, n), flags, flags, flags, flags,
			}
		},
		"sweep": func(n int) (string, []any) {
			kinds, ids, _, _ := keys(n)
			return sweepSQL.Sweep, []any{kinds, ids, 25, make([]*int64, len(ids))}
		},
		"sweep ask": func(n int) (string, []any) {
			kinds, ids, _, _ := keys(n)
			return sweepSQL.Ask, []any{kinds, ids, make([]*int64, len(ids))}
		},
		"sweep over": func(n int) (string, []any) {
			kinds, ids, _, _ := keys(n)
			return sweepSQL.Over, []any{kinds, ids}
		},
		"transpose": func(n int) (string, []any) {
			kinds, ids, versions, _ := keys(n)
			return transposeSQL.Transpose, []any{
				kinds, ids, versions, make([]bool, n), numbers(n), slices.Repeat([]string{"{}"}, n), 1, int64(1),
				make([]bool, n), make([]*string, n), slices.Repeat([]bool{true}, n),
			}
		},
		"look, apply": func(n int) (string, []any) {
			_, ids, _, _ := keys(n)
			return refetchSQL.Apply, []any{kind, ids, slices.Repeat([]string{"{}"}, n), 1, int64(1), true, make([]*string, n), true}
		},
		"look, remove": func(n int) (string, []any) {
			_, ids, versions, _ := keys(n)
			return refetchSQL.Remove, []any{kind, ids, versions, 1, int64(1)}
		},
		"look, versions": func(n int) (string, []any) {
			_, ids, _, _ := keys(n)
			return refetchSQL.Versions, []any{kind, ids}
		},
		"reconcile, compare": func(n int) (string, []any) {
			_, ids, _, _ := keys(n)
			return reconcileRowsSQL.Compare, []any{kind, ids, slices.Repeat([]string{"{}"}, n), 1, int64(1)}
		},
		"reconcile, rows": func(n int) (string, []any) {
			return reconcileRowsSQL.Rows, []any{kind, "path/to/resource-0100000", n, nil, nil, time.Now(), nil, nil}
		},
		"reconcile, placed": func(n int) (string, []any) {
			_, ids, _, _ := keys(n)
			return reconcileWalkSQL.Placed, []any{kind, ids, make([]bool, n), time.Now()}
		},
		"reconcile, synced": func(n int) (string, []any) {
			return reconcileWalkSQL.Synced, []any{kind, "path/to/resource-0100000", nil, time.Now(), n}
		},
		"reconcile, unwanted": func(n int) (string, []any) {
			_, ids, versions, _ := keys(n)
			return reconcileWalkSQL.Unwanted, []any{kind, ids, versions, 1, int64(1)}
		},
		"live page": func(n int) (string, []any) {
			return reconcileRowsSQL.LivePage, []any{kind, "path/to/resource-0100000", n}
		},
		"reconcile, requeue": func(n int) (string, []any) {
			_, ids, versions, _ := keys(n)
			return reconcileRowsSQL.Requeue, []any{kind, ids, versions}
		},
		"reconcile, raise": func(n int) (string, []any) {
			_, ids, versions, _ := keys(n)
			return reconcileRowsSQL.Raise, []any{kind, ids, versions, 1, int64(1)}
		},
		"reconcile, claims": func(n int) (string, []any) {
			return reconcileSQL.Claims, []any{kind, "path/to/resource-0100000", n}
		},
		"resync": func(n int) (string, []any) {
			_, ids, _, _ := keys(n)
			return resyncSQL.Resync, []any{kind, ids, false, false}
		},
		"resync, lock": func(n int) (string, []any) {
			return resyncSQL.Lock, []any{kind, "path/to/resource-0100000", n}
		},
		"resync one": func(int) (string, []any) { return resyncSQL.One, []any{kind, "path/to/resource-0100000", true} },
		"sweep page": func(n int) (string, []any) { return sweepSQL.Page, []any{kind, "path/to/resource-0100000", n} },
	}
}

// A group's statement finds its rows by key, whatever its size and whatever the
// planner knows: a join over the whole registry would make each claim cost as
// much as the registry is large.
func TestStatementsUseTheKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	process := b.process(t).ID()
	b.exec(t, "ALTER TABLE casq.registry SET (autovacuum_enabled = false)")
	b.exec(t, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload)
		SELECT $1, format('path/to/resource-%s', to_char(n, 'FM0000000')), 1, n, 1, '{"id": 1}' FROM generate_series(1, 200000) AS n`, kind)
	for _, known := range []string{"not analyzed", "analyzed"} {
		if known == "analyzed" {
			b.exec(t, "ANALYZE casq.registry")
			b.exec(t, "ANALYZE casq.processes")
		}
		for name, statement := range statements(process) {
			for n := 1; n <= 256; n *= 2 {
				sql, args := statement(n)
				p, text := b.explain(t, sql, args)
				scans := p.scans()
				if len(scans) == 0 && name != "transpose" && name != "look, apply" && name != "reconcile, unwanted" {
					t.Errorf("%s does not read the registry: %s", name, text)
				}
				for _, scan := range scans {
					if !strings.Contains(scan.Type, "Index") || !strings.Contains(scan.Cond, "resource_id") {
						t.Errorf("%s of %d, %s: %s with %q: %s", name, n, known, scan.Type, scan.Cond, text)
					}
				}
			}
		}
	}
}
