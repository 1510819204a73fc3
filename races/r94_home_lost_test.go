package races

import (
	"maps"
	"os"
	"path/filepath"
	"testing"

	"casq/registry"

	"github.com/jackc/pgx/v5"
)

// TestR94HomeLost: home, whose own log it follows, fails over, and lacks what it
// has done to the target.
//
// Rows and events are lost together, so that the log tells of nothing, and no row
// is beyond anything. A file and a mirror that only the lost history had are in
// place and nobody's; newer bytes are in place than the row says, which is
// synced; and what was removed is there again, in the table and in the row, and
// not in place.
func TestR94HomeLost(t *testing.T) {
	t.Parallel()
	t.Run("twin/goes on", func(t *testing.T) {
		t.Parallel()
		r := newR94Anew(t, true)
		execute(t, r.primary, "DROP TRIGGER on_timeline ON casq.timelines")
		r.loseFiles(t)
		r.site.put(t, "after", "after")
		r.until(t, "what comes afterwards is copied", func() bool { return r.placed(t)["after"] == "after" })
		want := map[string]string{"orphan": "lost", "kept": "kept", "updated": "newer, lost", "after": "after"}
		if got := r.placed(t); !maps.Equal(got, want) || !r.mirrored() {
			t.Errorf("in place is %q, want what is wrong: %q, and the mirror", got, want)
		}
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		r := newR94Anew(t, true)
		r.loseFiles(t)
		want := map[string]string{"orphan": "lost", "kept": "kept", "updated": "old", "deleted": "back"}
		r.until(t, "what is in place is what the rows say", func() bool { return maps.Equal(r.placed(t), want) })
		r.until(t, "the orphans are told of", func() bool {
			return lines(t, r.home, "SELECT resource_id FROM casq.reconcile_orphans ORDER BY kind") == "orphan\n"+theRepository
		})
		if !r.mirrored() {
			t.Error("a mirror was removed that nobody has asked to be removed")
		}
		err := pgx.BeginFunc(t.Context(), r.home, func(tx pgx.Tx) error {
			_, err := registry.Ask(t.Context(), tx, registry.Request{Reason: registry.Asked, Walk: true, RemoveOrphans: true})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		delete(want, "orphan")
		r.until(t, "the orphans are removed", func() bool { return maps.Equal(r.placed(t), want) && !r.mirrored() })
	})
}

// loseFiles has files copied whose events, rows and jobs are lost, and starts a
// worker at the server that was promoted.
func (r *r94Anew) loseFiles(t *testing.T) {
	t.Helper()
	stop := r.work(t, r.homeURL, r.cluster.URL())
	kept := map[string]string{"kept": "kept", "updated": "old", "deleted": "back"}
	for key, content := range kept {
		r.site.put(t, key, content)
	}
	r.until(t, "what is kept is copied", func() bool { return maps.Equal(r.placed(t), kept) && r.allSynced(t) })
	r.cutOff(t)
	r.site.put(t, "orphan", "lost")
	r.site.put(t, "updated", "newer, lost")
	r.site.remove(t, "deleted")
	r.site.push(t, theRepository, "lost", "")
	want := map[string]string{"orphan": "lost", "kept": "kept", "updated": "newer, lost"}
	r.until(t, "what will be lost is copied", func() bool { return maps.Equal(r.placed(t), want) && r.mirrored() && r.allSynced(t) })
	stop()
	if err := r.cluster.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	r.promote(t)
	r.site.pool, r.home = r.second, r.second
	for _, lost := range []string{filepath.Join(r.site.files, "orphan"), filepath.Join(r.site.repositories, theRepository)} {
		if err := os.RemoveAll(lost); err != nil {
			t.Fatal(err)
		}
	}
	for key, content := range kept {
		if err := os.WriteFile(filepath.Join(r.site.files, key), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.work(t, r.afterURL, r.cluster.StandbyURL(0))
}

func (r *r94Anew) allSynced(t *testing.T) bool {
	t.Helper()
	return lines(t, r.home, "SELECT resource_id FROM casq.registry_status WHERE kind <> 'resource' AND status NOT IN ('synced', 'removed')") == ""
}

// mirrored tells whether the mirror is in place.
func (r *r94Anew) mirrored() bool {
	_, err := os.Stat(filepath.Join(r.site.repositoryTarget, theRepository, "HEAD"))
	return err == nil
}

// placed are the files in place.
func (r *r94Anew) placed(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	entries, err := os.ReadDir(r.site.fileTarget)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if content, err := os.ReadFile(filepath.Join(r.site.fileTarget, entry.Name())); err == nil {
			found[entry.Name()] = string(content)
		}
	}
	return found
}
