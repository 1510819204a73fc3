package cifile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/cifile"

	"golang.org/x/sys/unix"
)

// A FIFO waits for whoever writes to it, for ever.
func TestAFIFOIsNoFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "ci.yml"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	if _, err := cifile.Read(root.FS(), "ci.yml"); err == nil || !strings.Contains(err.Error(), "ci.yml is no file") {
		t.Errorf("read a FIFO: %v", err)
	}
}
