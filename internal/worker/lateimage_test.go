package worker

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"casq/internal/testing/long"
)

// R19 from one end to the other: a trigger of the user's changes the row that
// was just written, and an event is appended by hand before its UPDATE. What the
// row says at last is what ends up in place.
func TestTheNewestImageEndsUpInPlace(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	sum := func(content string) string {
		s := sha256.Sum256([]byte(content))
		return hex.EncodeToString(s[:])
	}
	b.exec(t, `CREATE FUNCTION public.correct() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN
			UPDATE public.artifacts SET size = 9, sha256 = '`+sum("corrected")+`' WHERE id = NEW.id;
			RETURN NULL;
		END $$`)
	b.exec(t, `CREATE TRIGGER correct AFTER INSERT ON public.artifacts
		FOR EACH ROW EXECUTE FUNCTION public.correct()`)
	write := func(key, content string) {
		if err := os.WriteFile(filepath.Join(b.source, key), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("late", "corrected")
	b.exec(t, "INSERT INTO artifacts (project_id, path, size, sha256) VALUES (1, 'late', 5, $1)", sum("first"))
	b.until(t, "late", func() bool { return b.inPlace("late", "corrected") && b.status(t, "late") == "synced" })

	write("late", "by hand")
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = tx.Exec(t.Context(), `SELECT casq.append_event('artifact', 'late', 'updated', jsonb_build_object('size', 9, 'sha256', $1::text))`, sum("corrected"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "UPDATE artifacts SET size = 7, sha256 = $1 WHERE path = 'late'", sum("by hand")); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.until(t, "late", func() bool { return b.inPlace("late", "by hand") && b.status(t, "late") == "synced" })
}
