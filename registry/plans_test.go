package registry_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"casq/internal/testing/long"
	"casq/registry"

	"github.com/google/uuid"
)

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
			return registry.ClaimSQL.Lock, []any{kinds, ids}
		},
		"claim": func(n int) (string, []any) {
			kinds, ids, versions, claims := keys(n)
			return registry.ClaimSQL.Claim, []any{kinds, ids, versions, claims, numbers(n), process, registry.ErrCancelled.Error()}
		},
		"lost": func(n int) (string, []any) {
			kinds, ids, versions, claims := keys(n)
			return registry.SweepSQL.Lost, []any{kinds, ids, versions, claims, numbers(n), make([]bool, n), registry.ErrCancelled.Error()}
		},
		"verdict": func(n int) (string, []any) {
			kinds, ids, versions, claims := keys(n)
			return registry.ClaimSQL.Verdict, []any{kinds, ids, versions, claims, numbers(n), registry.ErrCancelled.Error()}
		},
		"complete": func(n int) (string, []any) {
			kinds, ids, versions, claims := keys(n)
			flags := make([]bool, n)
			return registry.ClaimSQL.Complete, []any{
				kinds, ids, versions, claims, flags, make([]*string, n), make([]*int64, n),
				make([]*string, n), make([]*time.Time, n), flags, flags, flags, flags, make([]*string, n), flags, make([]string, n),
			}
		},
		"sweep": func(n int) (string, []any) {
			kinds, ids, _, _ := keys(n)
			return registry.SweepSQL.Sweep, []any{kinds, ids, 25, make([]*int64, len(ids))}
		},
		"sweep ask": func(n int) (string, []any) {
			kinds, ids, _, _ := keys(n)
			return registry.SweepSQL.Ask, []any{kinds, ids, make([]*int64, len(ids))}
		},
		"sweep over": func(n int) (string, []any) {
			kinds, ids, _, _ := keys(n)
			return registry.SweepSQL.Over, []any{kinds, ids}
		},
		"transpose": func(n int) (string, []any) {
			kinds, ids, versions, _ := keys(n)
			return registry.TransposeSQL.Transpose, []any{
				kinds, ids, versions, make([]bool, n), numbers(n), slices.Repeat([]string{"{}"}, n), 1, int64(1),
				make([]bool, n), make([]*string, n), slices.Repeat([]bool{true}, n),
			}
		},
		"resync": func(n int) (string, []any) {
			_, ids, _, _ := keys(n)
			return registry.ResyncSQL.Resync, []any{kind, ids, false, false, nil, int64(0)}
		},
		"resync, lock": func(n int) (string, []any) {
			return registry.ResyncSQL.Lock, []any{kind, "path/to/resource-0100000", n}
		},
		"resync one": func(int) (string, []any) {
			return registry.ResyncSQL.One, []any{kind, "path/to/resource-0100000", true}
		},
		"sweep page": func(n int) (string, []any) { return registry.SweepSQL.Page, []any{kind, "path/to/resource-0100000", n} },
	}
}

// A group's statement finds its rows by key, whatever its size and whatever the
// planner knows: a join over the whole registry would make each claim cost as
// much as the registry is large.
func TestStatementsUseTheKey(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.WantKeyUsed(t, statements(b.Process(t).ID()), "transpose")
}
