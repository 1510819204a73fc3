package worker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/testing/long"
)

// A copy that would take a day is cancelled when its resource is deleted, or
// replaced: the removal, or the next copy, begins soon. The process lives on.
func TestACopyOfWhatWasDeletedIsCancelled(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t, func(cfg *Config) { cfg.CopyRate = 1 << 10 })
	day := strings.Repeat("x", 100<<20)
	b.put(t, "deleted", day)
	b.put(t, "replaced", day)
	for _, key := range []string{"deleted", "replaced"} {
		b.until(t, key, func() bool { return b.status(t, key) == "started" && b.staged(t) == 2 })
	}
	b.exec(t, "DELETE FROM artifacts")
	b.put(t, "replaced", "short")
	b.until(t, "deleted", func() bool { return b.status(t, "deleted") == "removed" })
	b.until(t, "replaced", func() bool { return b.inPlace("replaced", "short") && b.status(t, "replaced") == "synced" })
	b.until(t, "replaced", func() bool { return b.staged(t) == 0 })
	if b.count(t, "attempts > 1 OR last_error IS NOT NULL OR claim IS NOT NULL") > 0 {
		t.Error("a cancelled run left a trace")
	}
}

// The process's row is gone: all of its work is cancelled, and it goes on under
// another id.
func TestALostProcessCancelsItsWork(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t, func(cfg *Config) { cfg.CopyRate = 1 << 10 })
	b.put(t, "long", strings.Repeat("x", 100<<20))
	b.until(t, "long", func() bool { return b.status(t, "long") == "started" && b.staged(t) == 1 })
	b.exec(t, "DELETE FROM casq.processes")
	b.until(t, "long", func() bool {
		return b.count(t, "attempts = 2 AND claim_process = (SELECT id FROM casq.processes WHERE dead_at IS NULL)") == 1
	})
	b.until(t, "long", func() bool {
		return b.log.has("was taken for dead, its work is cancelled") && b.log.has("run was fenced")
	})
	b.until(t, "long", func() bool { return b.staged(t) == 1 }) // the new one's
}

// staged is how many files runs have begun to copy.
func (b *testBundle) staged(t *testing.T) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(b.target, ".casq", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// What is missing is looked for again, and is never "synced"; a new event for
// it does not wait for that.
func TestWhatIsMissingIsLookedForAgain(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.exec(t, `INSERT INTO artifacts (project_id, path, size, sha256) VALUES
		(1, 'late', 4, repeat('0', 64)), (1, 'again', 5, encode(sha256('again'), 'hex'))`)
	for _, key := range []string{"late", "again"} {
		b.until(t, key, func() bool {
			return b.count(t, "resource_id = '"+key+"' AND missing_since IS NOT NULL AND attempts > 1 AND synced_version IS NULL") == 1
		})
	}
	if !b.asleep(t) {
		t.Error("River counts the attempts")
	}
	b.put(t, "late", "late")
	b.until(t, "late", func() bool { return b.inPlace("late", "late") && b.status(t, "late") == "synced" })
	// This one comes without an event.
	if err := os.WriteFile(filepath.Join(b.source, "again"), []byte("again"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.exec(t, "UPDATE river.river_job SET scheduled_at = now() WHERE state = 'scheduled'")
	b.until(t, "again", func() bool { return b.inPlace("again", "again") && b.status(t, "again") == "synced" })
	if b.count(t, "missing_since IS NOT NULL") != 0 {
		t.Error("still missing")
	}
}

// asleep waits until River's job sleeps, and tells whether it has an attempt
// left of those that it counts.
func (b *testBundle) asleep(t *testing.T) (unused bool) {
	t.Helper()
	b.until(t, "again", func() bool {
		var n int
		err := b.pool.QueryRow(t.Context(), `SELECT count(*), coalesce(bool_and(attempt = 0), false) FROM river.river_job
			WHERE state = 'scheduled'`).Scan(&n, &unused)
		if err != nil {
			t.Fatal(err)
		}
		return n == 2
	})
	return unused
}
