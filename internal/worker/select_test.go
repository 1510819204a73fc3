package worker

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"casq/internal/testing/long"
	"casq/registry"
)

// A site with running workers is limited, resources move in and out, and then it has
// all again: on disk is what is selected, and counters do not notice.
func TestWorkerSelects(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	there := func(name string) bool {
		_, err := os.Stat(filepath.Join(b.target, name))
		return err == nil
	}
	b.put(t, "one", "one")
	b.put(t, "two", "two")
	b.until(t, "one", func() bool { return b.inPlace("one", "one") && b.inPlace("two", "two") })
	b.exec(t, `UPDATE artifacts SET project_id = 2 WHERE path = 'two'`)
	selects := func(scopes []string) {
		t.Helper()
		_, err := registry.Select(context.WithoutCancel(t.Context()), b.pool, b.pool, registry.Selection{Kind: "artifact", Scopes: scopes})
		if err != nil {
			t.Fatal(err)
		}
	}
	selects([]string{"2"})
	b.until(t, "one", func() bool { return !there("one") && b.status(t, "one") == "removed" && b.inPlace("two", "two") })

	b.exec(t, `UPDATE artifacts SET project_id = 2 WHERE path = 'one'`)
	b.exec(t, `UPDATE artifacts SET project_id = 3 WHERE path = 'two'`)
	b.put(t, "three", "three")
	b.until(t, "one", func() bool { return b.inPlace("one", "one") && b.status(t, "two") == "removed" && !there("two") })
	if there("three") {
		t.Error("what is not selected was copied")
	}
	selects(nil)
	b.until(t, "three", func() bool {
		return b.inPlace("two", "two") && b.inPlace("three", "three") && b.status(t, "one") == "synced"
	})
}
