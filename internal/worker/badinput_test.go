package worker

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/testing/long"
)

// Each bad resource fails with a reason that says what is wrong, leaves nothing
// in place, and the good one beside it is copied.
func TestBadResourcesFailAndTheRestGoesOn(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(b.target, "planted")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(b.source, "link")); err != nil {
		t.Fatal(err)
	}
	b.put(t, "planted/x", "through a link")
	b.put(t, "changed", "as the row says")
	if err := os.WriteFile(filepath.Join(b.source, "changed"), []byte("as nobody said!"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.exec(t, `INSERT INTO artifacts (project_id, path, size, sha256) VALUES
		(1, '../escape', 0, ''), (1, '/etc/passwd', 0, ''), (1, 'a/../../b', 0, ''), (1, E'new\nline', 0, ''),
		(1, '.casq/x', 0, ''), (1, 'double//slash', 0, ''), (1, 'link', 0, repeat('0', 64)),
		(1, 'badsum', 0, 'not a checksum'), (1, 'nowhere', 0, repeat('0', 64))`)
	b.put(t, "good", "good")
	b.until(t, "good", func() bool { return b.inPlace("good", "good") && b.status(t, "good") == "synced" })
	for key, reason := range map[string]string{
		"../escape":     "unacceptable place",
		"/etc/passwd":   "unacceptable place",
		"a/../../b":     "unacceptable place",
		"new\nline":     "unacceptable place",
		".casq/x":       "unacceptable place",
		"double//slash": "unacceptable place",
		"link":          "unsafe path",
		"planted/x":     "unsafe path",
		"badsum":        "unacceptable payload",
		"nowhere":       "not found at the source",
		"changed":       "changed at the source without an event",
	} {
		b.until(t, key, func() bool { return b.status(t, key) == "failed" })
		var got string
		err := b.pool.QueryRow(t.Context(), "SELECT last_error FROM casq.registry WHERE resource_id = $1", key).Scan(&got)
		if err != nil || !strings.Contains(got, reason) {
			t.Errorf("%q: the reason is %q, want %q in it; %v", key, got, reason, err)
		}
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("something was written through the link: %v, %v", entries, err)
	}
	entries, err := os.ReadDir(b.target)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if name := e.Name(); name != "good" && name != "planted" && name != ".casq" {
			t.Errorf("%s is in the target", name)
		}
	}
}

// What failed because the source was not ready heals by itself when an event
// says that it is.
func TestANewEventHealsAFailure(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.exec(t, "INSERT INTO artifacts (project_id, path, size, sha256) VALUES (1, 'late', 0, repeat('0', 64))")
	b.until(t, "late", func() bool { return b.status(t, "late") == "failed" })
	b.put(t, "late", "here it is")
	b.until(t, "late", func() bool { return b.inPlace("late", "here it is") && b.status(t, "late") == "synced" })
}
