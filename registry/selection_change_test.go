package registry_test

import (
	"testing"

	"casq/eventlog"
	"casq/internal/testing/registrytest"
	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// The position that a change reads must not be that of a history which is
// given up at the same time: no host would ever show it.
func TestGoingBackWaitsForAChange(t *testing.T) {
	t.Parallel()
	b := setup(t)
	change, err := b.Pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = change.Rollback(t.Context()) }()
	if _, err := change.Exec(t.Context(), registry.ChangeSelectionSQL); err != nil {
		t.Fatal(err)
	}
	back := make(chan error, 1)
	go func() {
		back <- pgx.BeginFunc(t.Context(), b.Pool, func(tx pgx.Tx) error {
			return b.Transposer.Rewound(t.Context(), tx, eventlog.Rewind{To: at(1, 5), Newest: at(1, 5), Everything: true, Incomparable: true})
		})
	}()
	until(t, "the wait", func() bool { return b.Text(t, registrytest.AdvisoryWaits) == "1" })
	if _, err := change.Exec(t.Context(), "INSERT INTO casq.reconcile_runs (reason, at_timeline, at_tick) VALUES ('selected', 7, 900)"); err != nil {
		t.Fatal(err)
	}
	if err := change.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, "going back", back); err != nil {
		t.Fatal(err)
	}
	if got := b.Text(t, "SELECT string_agg(DISTINCT at_timeline || '/' || at_tick, ' ') FROM casq.reconcile_runs"); got != "1/5" {
		t.Errorf("runs read at %s", got)
	}
}
