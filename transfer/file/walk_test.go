package file

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

func TestWalkNamesFilesInTheOrderOfKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.WantKeys(t, transfertest.Walked(t, b, "none", ""))
	for _, key := range []string{"a/b", "a-b", "a.c", "a/b.c", "a0", "p/.casq/x", "p/x", "é/ü", ".casqx/y"} {
		transfertest.Write(t, b.target, key, "bytes")
	}
	// What no run has put there.
	transfertest.Write(t, b.target, ".casq/staging", "bytes")
	transfertest.Write(t, b.target, "with\ncontrol", "bytes")
	transfertest.Write(t, b.target, "git/HEAD", "bytes")
	transfertest.Must(t, os.MkdirAll(filepath.Join(b.target, "git", "refs"), 0o755))
	transfertest.Must(t, os.MkdirAll(filepath.Join(b.target, "git", "objects"), 0o755))
	transfertest.Must(t, os.Symlink(b.source, filepath.Join(b.target, "link")))
	transfertest.Must(t, os.Mkdir(filepath.Join(b.target, "empty"), 0o755))

	all := []string{".casqx/y", "a-b", "a.c", "a/b", "a/b.c", "a0", "p/.casq/x", "p/x", "é/ü"}
	transfertest.WantKeys(t, transfertest.Walked(t, b, "", ""), all...)
	transfertest.WantKeys(t, transfertest.Walked(t, b, "p", ""), "x")
	for i, after := range all {
		transfertest.WantKeys(t, transfertest.Walked(t, b, "", after), all[i+1:]...)
	}
	stop := fmt.Errorf("enough")
	transfertest.WantError(t, b.Walk(t.Context(), "", "", func(transfer.Placed) error { return stop }), stop)
}
