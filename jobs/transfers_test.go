package jobs_test

import (
	"context"
	"slices"
	"testing"

	"casq/internal/testing/testdb"
	"casq/jobs"
	"casq/transfer"
)

// asideTransfer has put copies aside.
type asideTransfer struct {
	jobs.Transfer
	names []string
}

func (a *asideTransfer) ListAside(context.Context) ([]string, error) {
	return slices.Clone(a.names), nil
}

func (a *asideTransfer) DropAside(_ context.Context, name string) error {
	a.names = slices.DeleteFunc(a.names, func(n string) bool { return n == name })
	return nil
}

// What a move keeps stays aside, below its kind's prefix, and as that incarnation; the rest goes.
func TestSweepAside(t *testing.T) {
	t.Parallel()
	pool := testdb.New(t).Pool(t)
	for _, sql := range []string{
		"SELECT casq.define_kind('repository', 'git', prefix => 'all'), casq.define_kind('document', 'file')",
		`INSERT INTO casq.moves (kind, resource_id, base_id, base_incarnation, via, timeline, tick)
			VALUES ('repository', 'new', 'old', 2, 'old', 1, 1), ('document', 'new', 'other', 1, 'other', 1, 1)`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	kept := transfer.AsideName("all/old", 2)
	mirrors := &asideTransfer{names: []string{transfer.AsideName("all/old", 1), kept, transfer.AsideName("old", 2), transfer.AsideName("document/other", 1)}}
	if err := (jobs.Transfers{"git": mirrors}).SweepAside(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(mirrors.names, []string{kept}) {
		t.Errorf("aside are %q; want %q", mirrors.names, kept)
	}
}
