package transfer

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"gocloud.dev/blob/memblob"
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
			b := setupFiles(t)
			path := filepath.Join(b.source, "k")
			content := make([]byte, size)
			file, err := os.Create(path)
			must(t, err)
			for _, offset := range data {
				copy(content[offset:], "bytes")
				_, err := file.WriteAt([]byte("bytes"), offset)
				must(t, err)
			}
			must(t, file.Truncate(size))
			must(t, file.Close())
			result, err := b.sync(t, "k", "")
			must(t, err)
			if want := fmt.Sprintf("sha256:%x", sha256.Sum256(content)); result.Checksum != want {
				t.Errorf("sum %s, want %s", result.Checksum, want)
			}
			got, err := os.ReadFile(filepath.Join(b.target, "k"))
			must(t, err)
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
	b := setupFiles(t)
	write(t, b.source, "k", "12345")
	for limit, want := range map[int64]error{0: nil, 5: nil, 4: ErrTooLarge} {
		run, err := b.Begin(t.Context(), Place{Key: "k", Claim: claim(), MaxSize: limit})
		must(t, err)
		_, err = run.Copy(t.Context(), nil)
		if want == nil {
			must(t, err)
		} else {
			wantError(t, err, want)
		}
		must(t, run.Close())
	}
}

// A bucket's driver stores some keys under other names, which are other keys'. They
// are not read, either.
func TestABucketIsNotReadUnderAnotherName(t *testing.T) {
	t.Parallel()
	source := &BucketSource{bucket: memblob.OpenBucket(nil)}
	t.Cleanup(func() { must(t, source.Close()) })
	for _, key := range []string{"a../b", "a__0x2e__"} {
		must(t, source.bucket.WriteAll(t.Context(), key, []byte("another's"), nil))
		_, err := source.Open(t.Context(), key)
		wantError(t, err, ErrBadPlace)
	}
}
