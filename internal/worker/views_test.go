package worker

import (
	"os"
	"path/filepath"
	"testing"

	"casq/internal/testing/long"
)

// A tracked view's resources are copied, moved, counted and removed as those of any table, and the
// role is there for as long as a view is tracked.
func TestViewIsFollowed(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	file := func(path string) {
		t.Helper()
		path = filepath.Join(b.source, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("hello"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	there := func(path string) func() bool {
		return func() bool {
			_, err := os.Lstat(filepath.Join(b.target, "document", path))
			return err == nil
		}
	}
	b.exec(t, `UPDATE casq.kinds SET prefix = 'artifact' WHERE kind = 'artifact'`)
	b.exec(t, `CREATE TABLE public.owners (id bigint PRIMARY KEY, name text NOT NULL)`)
	b.exec(t, `CREATE TABLE public.documents (id bigint PRIMARY KEY, owner_id bigint NOT NULL, name text NOT NULL, size bigint NOT NULL)`)
	b.exec(t, `CREATE VIEW public.paths AS SELECT d.id, o.name || '/' || d.name AS path, d.owner_id, d.size
		FROM public.documents AS d JOIN public.owners AS o ON o.id = d.owner_id`)
	file("ann/a.txt")
	b.exec(t, `INSERT INTO public.owners VALUES (1, 'ann')`)
	b.exec(t, `INSERT INTO public.documents VALUES (1, 1, 'a.txt', 5)`)
	b.exec(t, `SELECT casq.track_view('public.paths', kind => 'document', transfer => 'file', id_column => 'id', key_column => 'path', scope_column => 'owner_id', size_column => 'size',
		sources => '{"public.documents": "SELECT id FROM changed", "public.owners": "SELECT d.id FROM changed AS o JOIN public.documents AS d ON d.owner_id = o.id"}')`)
	until(t, "what was there is copied", there("ann/a.txt"))
	file("ann/b.txt")
	b.exec(t, `INSERT INTO public.documents VALUES (2, 1, 'b.txt', 5)`)
	until(t, "what comes is copied", there("ann/b.txt"))
	if err := os.Rename(filepath.Join(b.source, "ann"), filepath.Join(b.source, "anna")); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `UPDATE public.owners SET name = 'anna' WHERE id = 1`)
	until(t, "both have moved", func() bool {
		return there("anna/a.txt")() && there("anna/b.txt")() && !there("ann/a.txt")() && !there("ann/b.txt")()
	})
	b.exec(t, `DELETE FROM public.documents WHERE id = 1`)
	until(t, "one is removed", func() bool { return !there("anna/a.txt")() })
	until(t, "the other is counted", func() bool {
		return b.holds(t, `SELECT count(*) = 1 FROM casq.statistics WHERE kind = 'document' AND scope_id = '1' AND (size, items, exact) = (5, 1, true)`)
	})
	b.exec(t, `SELECT casq.untrack(kind => 'document')`)
	until(t, "nobody follows views any more", func() bool {
		return b.log.has("role given up") && b.holds(t, `SELECT NOT EXISTS (SELECT FROM casq.cursors WHERE name = 'views')`)
	})
}

func (b *testBundle) holds(t *testing.T, condition string) (met bool) {
	t.Helper()
	if err := b.pool.QueryRow(t.Context(), condition).Scan(&met); err != nil {
		t.Fatalf("%s: %v", condition, err)
	}
	return met
}
