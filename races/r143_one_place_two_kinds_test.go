package races

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casq/registry"
	"casq/transfer"
)

// TestR143OnePlaceTwoKinds: two kinds share a tree, as repositories and their wikis do,
// and for once two of their keys are one place.
//
// A run has claimed the first kind's file, or has copied it, or has put it in place, and
// stands still. The second kind's file comes under the same key, and a worker
// takes it; then its row is deleted, and the run goes on. Both must not be called
// synced, and the removal of the one must not take away the other's bytes.
func TestR143OnePlaceTwoKinds(t *testing.T) {
	t.Parallel()
	t.Run("twin/kinds that do not look", func(t *testing.T) {
		t.Parallel()
		h, claim := setupR143(t)
		execute(t, h.pool, `CREATE OR REPLACE FUNCTION casq.place_holders(kind text, resource_id text)
			RETURNS TABLE (kind text, resource_id text, claim uuid, size bigint) LANGUAGE sql STABLE
			AS $$ SELECT r.kind, r.resource_id, r.claim, r.size FROM casq.registry AS r WHERE false $$`)
		h.secondR143(t)
		h.reachesR143(t, "wiki", "synced")
		run := h.begin(t, claim)
		h.copyR143(t, claim, run)
		h.publishR143(t, claim, run)
		h.reachesR143(t, "artifact", "synced")
		if got := h.kindStatus(t, "wiki"); got != "synced" || h.inPlace(t) != "a file" {
			t.Errorf("the second is %s with %q; want it called synced with the other's bytes, for that is what goes wrong", got, h.inPlace(t))
		}
		execute(t, h.pool, `DELETE FROM wikis`)
		h.reachesR143(t, "wiki", "removed")
		if got := h.inPlace(t); got != "" || h.kindStatus(t, "artifact") != "synced" {
			t.Errorf("in place is %q; want nothing under what is called synced, for that is what goes wrong", got)
		}
	})
	for _, at := range []string{"claimed", "copied", "in place"} {
		t.Run("ours/"+at, func(t *testing.T) {
			t.Parallel()
			h, claim := setupR143(t)
			second := func() {
				h.secondR143(t)
				h.reachesR143(t, "wiki", "failed")
				said := lines(t, h.pool, `SELECT last_error FROM casq.registry WHERE kind = 'wiki'`)
				if !strings.Contains(said, `artifact "`+key+`"`) || !strings.Contains(said, "kinds wiki and artifact") {
					t.Errorf("it says %s", said)
				}
				execute(t, h.pool, `DELETE FROM wikis`)
				h.reachesR143(t, "wiki", "removed")
			}
			if at == "claimed" {
				second()
			}
			run := h.begin(t, claim)
			h.copyR143(t, claim, run)
			if at == "copied" {
				second()
			}
			h.publishR143(t, claim, run)
			if at == "in place" {
				second()
			}
			h.reachesR143(t, "artifact", "synced")
			if got := h.inPlace(t); got != "a file" {
				t.Errorf("the first is synced with %q", got)
			}
			// Once the first is gone, the second may come.
			execute(t, h.pool, `DELETE FROM artifacts`)
			h.reachesR143(t, "artifact", "removed")
			execute(t, h.pool, `INSERT INTO wikis VALUES ('`+key+`')`)
			h.reachesR143(t, "wiki", "synced")
			if got := h.inPlace(t); got != "a wiki" {
				t.Errorf("in place is %q", got)
			}
		})
	}
}

// setupR143 has two kinds in one tree, and a claim of the first one's file.
func setupR143(t *testing.T) (*hand, *registry.Claim) {
	t.Helper()
	s := newRegistrySite(t)
	execute(t, s.pool, `CREATE TABLE wikis (path text PRIMARY KEY)`)
	execute(t, s.pool, `SELECT casq.track('wikis', kind => 'wiki', transfer => 'file', prefix => '', source_prefix => 'wikis', key_column => 'path')`)
	file := filepath.Join(s.source, "wikis", key)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("a wiki"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := s.byHand(t)
	s.put(t, "a file")
	claim := h.claim(t, h.follow(t))
	return h, claim
}

// secondR143 has a worker find the second kind's row under the same key.
func (h *hand) secondR143(t *testing.T) {
	t.Helper()
	h.work(t, newPoints())
	execute(t, h.pool, `INSERT INTO wikis VALUES ('`+key+`')`)
}

func (h *hand) copyR143(t *testing.T, claim *registry.Claim, run transfer.Run) {
	t.Helper()
	if _, err := run.Copy(t.Context(), claim.Payload); err != nil {
		t.Fatal(err)
	}
}

func (h *hand) publishR143(t *testing.T, claim *registry.Claim, run transfer.Run) {
	t.Helper()
	if err := h.registry.Publish(claim, registry.Result{Size: 6}, run.Publish); err != nil {
		t.Fatal(err)
	}
}

func (h *hand) reachesR143(t *testing.T, kind, status string) {
	t.Helper()
	h.until(t, kind+" is "+status, func() bool { return h.kindStatus(t, kind) == status })
}

// kindStatus is the status of a kind's resource.
func (h *hand) kindStatus(t *testing.T, kind string) string {
	t.Helper()
	return lines(t, h.pool, `SELECT status FROM casq.registry_status WHERE kind = '`+kind+`'`)
}
