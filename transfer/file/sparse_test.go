package file

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

// A sparse file stays sparse: what is a hole there takes no room here.
func TestASparseFileStaysSparse(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	for name, data := range map[string][]int64{
		"nothing but a hole": nil, "data at the start": {0}, "data in the middle": {31 << 20}, "data at the end": {size - 5},
		"data and holes in turns": {0, 8 << 20, 24<<20 + 17, 40 << 20, size - 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			path := filepath.Join(b.source, "k")
			content := make([]byte, size)
			file, err := os.Create(path)
			transfertest.Must(t, err)
			for _, offset := range data {
				copy(content[offset:], "bytes")
				_, err := file.WriteAt([]byte("bytes"), offset)
				transfertest.Must(t, err)
			}
			transfertest.Must(t, file.Truncate(size))
			transfertest.Must(t, file.Close())
			result, err := b.sync(t, "k", "")
			transfertest.Must(t, err)
			if want := fmt.Sprintf("sha256:%x", sha256.Sum256(content)); result.Checksum != want {
				t.Errorf("sum %s, want %s", result.Checksum, want)
			}
			got, err := os.ReadFile(filepath.Join(b.target, "k"))
			transfertest.Must(t, err)
			if !bytes.Equal(got, content) {
				t.Error("the copy has other bytes")
			}
			from, to := statOf(t, path).Blocks, statOf(t, filepath.Join(b.target, "k")).Blocks
			if to > from+int64(len(data)+1)*64 {
				t.Errorf("the source has %d blocks, the copy %d", from, to)
			}
		})
	}
}

// A file over the limit is refused for good, in words that name it, and nothing
// of it is read.
func TestAFileOverTheLimit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "k", "12345")
	for limit, want := range map[int64]error{0: nil, 5: nil, 4: transfer.ErrTooLarge} {
		run, err := b.Begin(t.Context(), transfer.Place{Key: "k", Claim: transfertest.NewClaim(), MaxSize: limit})
		transfertest.Must(t, err)
		_, err = run.Copy(t.Context(), nil)
		if want == nil {
			transfertest.Must(t, err)
		} else {
			transfertest.WantError(t, err, want)
		}
		transfertest.Must(t, run.Close())
	}
}
