package folder

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

// A file system that gives a folder another inode number each time is called that, and not a
// folder that was replaced; one that was is opened again.
func TestNumbersThatAreMadeUp(t *testing.T) {
	t.Parallel()
	name := t.TempDir()
	root, err := openRoot(name, true, slog.New(slog.DiscardHandler))
	transfertest.Must(t, err)
	t.Cleanup(func() { transfertest.Must(t, root.Close()) })
	tree, err := root.Enter()
	transfertest.Must(t, err)
	defer tree.Leave()
	tree.ino++ // as it was when it was opened
	err = tree.Here()
	transfertest.WantError(t, err, transfer.ErrElsewhere)
	if !strings.Contains(err.Error(), "another inode number each time") {
		t.Error(err)
	}
	tree.ino--
	transfertest.Must(t, tree.Here())
	transfertest.Must(t, os.Rename(name, name+".gone"))
	transfertest.Must(t, os.Mkdir(name, 0o755))
	if err := tree.Here(); err == nil || !strings.Contains(err.Error(), "was replaced") {
		t.Error(err)
	}
	transfertest.Must(t, root.Check())
}
