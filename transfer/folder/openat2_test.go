package folder_test

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

func TestFilePublishAndRemove(t *testing.T) {
	t.Parallel()
	odd := []string{
		"plain", "a/b/c", ".hidden", "..double", "sp ace", "ünï/çödé", "-rf", "--", "%2e%2e", `back\slash`,
		"quote'\"", "star*?", "a:b", "{key}", "x.lock", strings.Repeat("n", 255), ".git/config", "deep/.casq/x", "~",
	}
	for _, walk := range []bool{false, true} {
		t.Run(fmt.Sprintf("walk=%v", walk), func(t *testing.T) {
			t.Parallel()
			b := setup(t, files)
			if walk {
				b.withoutOpenat2()
			}
			for _, key := range odd {
				transfertest.Write(t, b.source, key, "bytes of "+key)
				result, err := b.sync(t, key)
				transfertest.Must(t, err)
				want := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("bytes of "+key)))
				if result.Checksum != want || result.Size != int64(len("bytes of "+key)) {
					t.Fatalf("%q: result %+v, want %s", key, result, want)
				}
				transfertest.WantContent(t, b.target, key, "bytes of "+key)
			}
			transfertest.WantNoStaging(t, b.target)
			for _, key := range odd {
				transfertest.Must(t, b.remove(t, key))
				transfertest.Must(t, b.remove(t, key)) // what is not there is removed
			}
			entries, err := os.ReadDir(b.target)
			transfertest.Must(t, err)
			if len(entries) != 1 || entries[0].Name() != transfer.StagingRoot {
				t.Fatalf("target holds %v, want only %s", entries, transfer.StagingRoot)
			}
		})
	}
}
