package git

import (
	"os"
	"path/filepath"
	"testing"

	"casq/internal/testing/transfertest"
)

func TestWalkNamesMirrors(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, key := range []string{"group/b", "group-a", "group/b-c"} {
		for _, part := range []string{"objects", "refs"} {
			transfertest.Must(t, os.MkdirAll(filepath.Join(b.target, "p", key, part), 0o755))
		}
		transfertest.Write(t, b.target, "p/"+key+"/HEAD", "ref: refs/heads/main\n")
	}
	transfertest.Write(t, b.target, "p/file", "bytes")
	transfertest.Write(t, b.target, "p/folder/config", "bytes")
	transfertest.WantKeys(t, transfertest.Walked(t, b, "p", ""), "group-a", "group/b", "group/b-c")
	transfertest.WantKeys(t, transfertest.Walked(t, b, "p", "group/b"), "group/b-c")
}
