package file

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

// A file is another one when its size or time is; one that its payload names by its
// SHA-256 is what the payload says.
func TestProbeFile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change  func(t *testing.T, source, target string)
		payload string
		differs bool
		err     error
	}{
		"nothing": {},
		"bytes": {change: func(t *testing.T, s, _ string) {
			transfertest.Must(t, errors.Join(os.WriteFile(s, []byte("other"), 0o644), os.Chtimes(s, time.Unix(1, 0), time.Unix(1, 0))))
		}, differs: true},
		"its time": {change: func(t *testing.T, s, _ string) { transfertest.Must(t, os.Chtimes(s, time.Unix(1, 0), time.Unix(1, 0))) }, differs: true},
		"named by its SHA-256": {change: func(t *testing.T, s, _ string) { transfertest.Must(t, os.Chtimes(s, time.Unix(1, 0), time.Unix(1, 0))) },
			payload: `{"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}`},
		"the copy is gone":   {change: func(t *testing.T, _, target string) { transfertest.Must(t, os.Remove(target)) }, differs: true},
		"the source is gone": {change: func(t *testing.T, s, _ string) { transfertest.Must(t, os.Remove(s)) }, err: transfer.ErrMissing},
		"a link": {change: func(t *testing.T, s, _ string) {
			transfertest.Must(t, errors.Join(os.Remove(s), os.Symlink("/etc/passwd", s)))
		}, err: transfer.ErrUnsafe},
		"the folder is another one": {change: func(t *testing.T, s, _ string) {
			transfertest.Must(t, os.Rename(filepath.Dir(s), filepath.Dir(s)+".gone"))
		}, err: transfer.ErrElsewhere},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			transfertest.Write(t, b.source, "a", "bytes")
			_, err := transfertest.Sync(t, b, transfer.Place{Key: "a", Claim: transfertest.NewClaim()}, "{}")
			transfertest.Must(t, err)
			if c.change != nil {
				c.change(t, filepath.Join(b.source, "a"), filepath.Join(b.target, "a"))
			}
			differs, err := b.Probe(t.Context(), transfer.Copied{Place: transfer.Place{Key: "a"}, Payload: []byte(c.payload)})
			if differs != c.differs || !errors.Is(err, c.err) {
				t.Errorf("differs %t, %v", differs, err)
			}
		})
	}
}
