package reconcile

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"casq/internal/testing/long"
)

// statements are those that run for groups, with the arguments for n rows.
func statements() map[string]func(n int) (sql string, args []any) {
	keys := func(n int) (ids []string, versions []int64) {
		for i := range n {
			ids, versions = append(ids, fmt.Sprintf("path/to/resource-%07d", i*700)), append(versions, int64(i+1))
		}
		return ids, versions
	}
	return map[string]func(n int) (string, []any){
		"re-fetch, apply": func(n int) (string, []any) {
			ids, _ := keys(n)
			return refetchSQL.Apply, []any{kind, ids, slices.Repeat([]string{"{}"}, n), 1, int64(1), true, make([]*string, n), true}
		},
		"re-fetch, remove": func(n int) (string, []any) {
			ids, versions := keys(n)
			return refetchSQL.Remove, []any{kind, ids, versions, 1, int64(1)}
		},
		"re-fetch, versions": func(n int) (string, []any) {
			ids, _ := keys(n)
			return refetchSQL.Versions, []any{kind, ids}
		},
		"compare": func(n int) (string, []any) {
			ids, _ := keys(n)
			return rowsSQL.Compare, []any{kind, ids, slices.Repeat([]string{"{}"}, n), 1, int64(1)}
		},
		"rows": func(n int) (string, []any) {
			return rowsSQL.Rows, []any{kind, "path/to/resource-0100000", n, nil, nil, time.Now(), nil, nil, true}
		},
		"placed": func(n int) (string, []any) {
			ids, _ := keys(n)
			return walkSQL.Placed, []any{kind, ids, make([]bool, n), time.Now()}
		},
		"synced": func(n int) (string, []any) {
			return walkSQL.Synced, []any{kind, "path/to/resource-0100000", nil, time.Now(), n}
		},
		"unwanted": func(n int) (string, []any) {
			ids, versions := keys(n)
			return walkSQL.Unwanted, []any{kind, ids, versions, 1, int64(1)}
		},
		"live page": func(n int) (string, []any) {
			return rowsSQL.LivePage, []any{kind, "path/to/resource-0100000", n}
		},
		"requeue": func(n int) (string, []any) {
			ids, versions := keys(n)
			return rowsSQL.Requeue, []any{kind, ids, versions}
		},
		"raise": func(n int) (string, []any) {
			ids, versions := keys(n)
			return rowsSQL.Raise, []any{kind, ids, versions, 1, int64(1)}
		},
		"claims": func(n int) (string, []any) {
			return runSQL.Claims, []any{kind, "path/to/resource-0100000", n}
		},
	}
}

// A page's statement finds its rows by key, whatever its size and whatever the
// planner knows: a join over the whole registry would make each page cost as
// much as the registry is large.
func TestStatementsUseTheKey(t *testing.T) {
	long.Test(t)
	t.Parallel()
	setup(t).WantKeyUsed(t, statements(), "re-fetch, apply", "unwanted")
}
