package worker

import (
	"slices"
	"testing"

	"casq/jobs"
)

func TestRolesSayWhatIsWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRoles()
	want := func(reason string) {
		t.Helper()
		if _, got := r.snapshot(); got != reason {
			t.Errorf("got %q, want %q", got, reason)
		}
	}
	want("nothing to do: no table is tracked here, and no target and no address for runners is set")
	if names := r.names(); names == nil || len(names) != 0 {
		t.Errorf("no roles are %v, want an empty list and not null", names)
	}
	r.wait("home")
	want("waiting for home")
	r.wait("")
	if !r.set("sync", false, "not started yet") || r.set("sync", false, "not started yet") || !r.set("registry", false, "late") {
		t.Error("set does not tell a new role")
	}
	r.set("ticker", true, "")
	want("not ready: registry, sync")
	r.set("sync", true, "")
	r.set("registry", true, "")
	want("")
	if names := r.names(); !slices.Equal(names, []string{"registry", "sync", "ticker"}) {
		t.Errorf("roles %v", names)
	}
	if !r.drop("ticker") || r.drop("ticker") {
		t.Error("drop does not tell whether the role was there")
	}
}

func TestSummaryHasWhatChanged(t *testing.T) {
	t.Parallel()
	var s jobs.Stats
	s.Add(jobs.Synced, 5)
	before := s.Counts()
	if attrs := since(before, s.Counts()); len(attrs) != 0 {
		t.Errorf("nothing was done, and told is %v", attrs)
	}
	s.Add(jobs.Synced, 2)
	s.Add(jobs.Missing, 1)
	if attrs := since(before, s.Counts()); !slices.Equal(attrs, []any{"synced", int64(2), "missing", int64(1)}) {
		t.Errorf("told is %v", attrs)
	}
}
