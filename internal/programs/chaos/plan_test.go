package main

import (
	"slices"
	"testing"
	"time"
)

func described(plan []planned) []string {
	return collect(len(plan), func(i int) string { return plan[i].at.String() + " " + plan[i].what })
}

func TestPlanFollowsFromTheSeed(t *testing.T) {
	t.Parallel()
	cfg := config{seed: 7, duration: 5 * time.Minute}.withDefaults()
	first := described(plan(cfg))
	if again := described(plan(cfg)); !slices.Equal(first, again) {
		t.Errorf("the same seed gave\n%q\nand\n%q", first, again)
	}
	longer := cfg
	longer.duration *= 2
	if got := described(plan(longer)); !slices.Equal(got[:len(first)], first) {
		t.Error("a longer run has other faults at its beginning")
	}
	cfg.seed++
	if slices.Equal(first, described(plan(cfg))) {
		t.Error("another seed gave the same faults")
	}
}

// Each fault comes once before any comes again.
func TestPlanHasEveryFault(t *testing.T) {
	t.Parallel()
	counts := make(map[string]int)
	cfg := config{seed: 1, duration: time.Hour, faults: faults}.withDefaults()
	all := plan(cfg)
	for i, p := range all[:len(faults)] {
		counts[p.name]++
		if i > 0 && p.at <= all[i-1].at {
			t.Errorf("fault %d comes at %s, the one before at %s", i, p.at, all[i-1].at)
		}
	}
	for _, f := range faults {
		if counts[f.name] != 1 {
			t.Errorf("%s comes %d times among the first %d", f.name, counts[f.name], len(faults))
		}
	}
	if cfg.faults = []fault{}; plan(cfg) != nil {
		t.Error("no faults have a plan")
	}
}
