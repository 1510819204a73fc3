package file

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

// named is a payload that names the content.
func named(content string) json.RawMessage {
	return fmt.Appendf(nil, `{"sha256": "%x"}`, sha256.Sum256([]byte(content)))
}

// What is in place is taken for what it is only when it is exactly what a run
// would put there. The source has other bytes, so that a copy cannot succeed.
func TestAdopt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		adopt   bool
		payload json.RawMessage
		prepare func(t *testing.T, path string)
		want    error
	}{
		"as it should be":    {true, named("bytes"), nil, nil},
		"not the first copy": {false, named("bytes"), nil, transfer.ErrChanged},
		"another sum":        {true, named("other"), nil, transfer.ErrChanged},
		"another size":       {true, append(named("bytes")[:77], `, "size": 4}`...), nil, transfer.ErrChanged},
		"another mode":       {true, named("bytes"), func(t *testing.T, path string) { t.Helper(); transfertest.Must(t, os.Chmod(path, 0o600)) }, transfer.ErrChanged},
		"a link": {true, named("bytes"), func(t *testing.T, path string) {
			t.Helper()
			transfertest.Must(t, os.Rename(path, path+"x"))
			transfertest.Must(t, os.Symlink(path+"x", path))
		}, transfer.ErrChanged},
		"another time": {true, named("bytes"), func(t *testing.T, path string) {
			t.Helper()
			transfertest.Must(t, os.Chtimes(path, time.Now(), time.Now()))
		}, transfer.ErrChanged},
		"it has another name":   {true, named("bytes"), func(t *testing.T, path string) { t.Helper(); transfertest.Must(t, os.Link(path, path+"x")) }, transfer.ErrChanged},
		"there is nothing":      {true, named("bytes"), func(t *testing.T, path string) { t.Helper(); transfertest.Must(t, os.Remove(path)) }, transfer.ErrChanged},
		"there is not a folder": {true, named("bytes"), func(t *testing.T, path string) { t.Helper(); transfertest.Must(t, os.RemoveAll(filepath.Dir(path))) }, transfer.ErrChanged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			transfertest.Write(t, b.target, "a/b", "bytes")
			path := filepath.Join(b.target, "a", "b")
			transfertest.Must(t, os.Chmod(path, 0o644))
			transfertest.Write(t, b.source, "a/b", "wrong")
			transfertest.Must(t, os.Chmod(filepath.Join(b.source, "a", "b"), 0o644))
			for _, folder := range []string{b.source, b.target} {
				transfertest.Must(t, os.Chtimes(filepath.Join(folder, "a", "b"), time.Unix(1e9, 0), time.Unix(1e9, 7)))
			}
			before, _ := transfertest.Inode(t, path)
			if test.prepare != nil {
				test.prepare(t, path)
			}
			run, err := b.Begin(t.Context(), transfer.Place{Key: "a/b", Claim: transfertest.NewClaim(), Adopt: test.adopt})
			transfertest.Must(t, err)
			result, err := run.Copy(t.Context(), test.payload)
			if test.want != nil {
				transfertest.WantError(t, err, test.want)
				transfertest.Must(t, run.Close())
				return
			}
			transfertest.Must(t, err)
			if want := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("bytes"))); result.Checksum != want || result.Size != 5 || result.Held != 5 {
				t.Errorf("got %+v", result)
			}
			for range 2 {
				transfertest.Must(t, run.Publish(t.Context()))
			}
			transfertest.Must(t, run.Close())
			if after, names := transfertest.Inode(t, path); after != before || names != 1 {
				t.Errorf("it is another file, or has %d names", names)
			}
		})
	}
}

// What differs stays until it is replaced by a copy.
func TestWhatIsNotAdoptedIsCopied(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "a", "bytes")
	transfertest.Write(t, b.target, "a", "other")
	run, err := b.Begin(t.Context(), transfer.Place{Key: "a", Claim: transfertest.NewClaim(), Adopt: true})
	transfertest.Must(t, err)
	path := filepath.Join(b.target, "a")
	transfertest.Must(t, os.Chmod(path, 0o644))
	_, err = run.Copy(t.Context(), named("bytes"))
	transfertest.Must(t, err)
	if content, _ := os.ReadFile(path); string(content) != "other" {
		t.Errorf("before it is published there is %q", content)
	}
	transfertest.Must(t, run.Publish(t.Context()))
	transfertest.Must(t, run.Close())
	if content, _ := os.ReadFile(path); string(content) != "bytes" {
		t.Errorf("there is %q", content)
	}
}

// A run that has adopted what is in place is fenced like any other.
func TestAdoptedIsFenced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "a", "newer")
	transfertest.Write(t, b.target, "a", "bytes")
	transfertest.Must(t, os.Chmod(filepath.Join(b.target, "a"), 0o644))
	same := func(folder string) {
		transfertest.Must(t, os.Chmod(filepath.Join(folder, "a"), 0o644))
		transfertest.Must(t, os.Chtimes(filepath.Join(folder, "a"), time.Unix(1e9, 0), time.Unix(1e9, 0)))
	}
	same(b.source)
	same(b.target)
	old, err := b.Begin(t.Context(), transfer.Place{Key: "a", Claim: transfertest.NewClaim(), Adopt: true})
	transfertest.Must(t, err)
	_, err = old.Copy(t.Context(), named("bytes"))
	transfertest.Must(t, err)
	_, err = b.sync(t, "a", string(named("newer")))
	transfertest.Must(t, err)
	transfertest.WantError(t, old.Publish(t.Context()), transfer.ErrFenced)
	transfertest.Must(t, old.Close())
	if content, _ := os.ReadFile(filepath.Join(b.target, "a")); string(content) != "newer" {
		t.Errorf("there is %q", content)
	}
}
