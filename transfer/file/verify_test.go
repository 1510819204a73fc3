package file

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

func TestVerifyFile(t *testing.T) {
	t.Parallel()
	sum := func(content string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(content))) }
	const good = "the bytes"
	corrupt := func(t *testing.T, b *bundle) { transfertest.Write(t, b.target, "a/x", "the byteZ") }
	vanish := func(t *testing.T, b *bundle) { transfertest.Must(t, os.Remove(filepath.Join(b.target, "a", "x"))) }
	keep := func(*testing.T, *bundle) {}
	for name, test := range map[string]struct {
		change   func(t *testing.T, b *bundle)
		payload  string
		checksum string
		want     error
		says     string
	}{
		"as it was copied":                {change: keep, checksum: "sha256:" + sum(good)},
		"as the payload says":             {change: keep, payload: `{"sha256": "` + sum(good) + `"}`},
		"as the source has it":            {change: keep},
		"a byte differs from the copy":    {change: corrupt, checksum: "sha256:" + sum(good), want: transfer.ErrMismatch, says: "by the checksum of its copy"},
		"a byte differs from the payload": {change: corrupt, payload: `{"sha256": "` + sum(good) + `"}`, want: transfer.ErrMismatch, says: "by the payload"},
		"a byte differs from the source":  {change: corrupt, want: transfer.ErrMismatch, says: "by the source"},
		"cut short": {
			change:   func(t *testing.T, b *bundle) { transfertest.Write(t, b.target, "a/x", "") },
			checksum: "sha256:" + sum(good), want: transfer.ErrMismatch, says: "in place",
		},
		"absent":        {change: vanish, checksum: "sha256:" + sum(good), want: transfer.ErrMismatch, says: "no such file in place"},
		"folder absent": {change: func(t *testing.T, b *bundle) { transfertest.Must(t, os.RemoveAll(filepath.Join(b.target, "a"))) }, want: transfer.ErrMismatch, says: "no such file in place"},
		"a link": {
			change: func(t *testing.T, b *bundle) {
				vanish(t, b)
				transfertest.Must(t, os.Symlink(filepath.Join(b.source, "a", "x"), filepath.Join(b.target, "a", "x")))
			},
			want: transfer.ErrMismatch, says: "symbolic link",
		},
		"a folder": {
			change: func(t *testing.T, b *bundle) {
				vanish(t, b)
				transfertest.Must(t, os.Mkdir(filepath.Join(b.target, "a", "x"), 0o755))
			},
			want: transfer.ErrMismatch, says: "not a regular file",
		},
		"gone from the source, which is asked":          {change: func(t *testing.T, b *bundle) { transfertest.Must(t, os.Remove(filepath.Join(b.source, "a", "x"))) }, want: transfer.ErrMissing},
		"gone from the source, which need not be asked": {change: func(t *testing.T, b *bundle) { transfertest.Must(t, os.Remove(filepath.Join(b.source, "a", "x"))) }, checksum: "sha256:" + sum(good)},
		"a bad payload":  {change: keep, payload: `[]`, want: transfer.ErrBadPayload},
		"a bad checksum": {change: keep, checksum: "md5:x", want: transfertest.ErrAny, says: "stored checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			transfertest.Write(t, b.source, "a/x", good)
			_, err := b.sync(t, "a/x", "")
			transfertest.Must(t, err)
			test.change(t, b)
			before := snapshot(t, b.target)
			err = b.Verify(t.Context(), transfer.Place{Key: "a/x"}, json.RawMessage(test.payload), test.checksum)
			transfertest.WantVerdict(t, err, test.want, test.says)
			if after := snapshot(t, b.target); after != before {
				t.Errorf("it wrote: %s, before %s", after, before)
			}
		})
	}
}

// snapshot names all that is below a folder.
func snapshot(t *testing.T, folder string) string {
	t.Helper()
	var text strings.Builder
	transfertest.Must(t, filepath.Walk(folder, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&text, path, info.Mode(), info.Size(), info.ModTime())
		}
		return err
	}))
	return text.String()
}
