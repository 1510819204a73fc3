package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestShortRun is the run that CI has. A time is not promised, so nothing here
// depends on one: a slow machine gets through fewer faults.
func TestShortRun(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a run with faults")
	}
	var out strings.Builder
	temporary := t.TempDir()
	err := play(t.Context(), config{
		seed: 1, duration: 12 * time.Second, worker: os.Args[0], out: &out, temporary: temporary,
		every: 1200 * time.Millisecond, ttl: 1500 * time.Millisecond, stall: 90 * time.Second,
	})
	t.Log("\n" + out.String())
	must(t, err)
	want := regexp.MustCompile(`\nchaos: OK seed=1 operations=[1-9]\d* faults=[1-9]\d* violations=0\n$`)
	if !want.MatchString(out.String()) {
		t.Errorf("the last line is not %s", want)
	}
	entries, err := os.ReadDir(temporary)
	must(t, err)
	if len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
}
