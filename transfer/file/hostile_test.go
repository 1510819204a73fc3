package file

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"

	"golang.org/x/sys/unix"
)

func TestPlantedLinkInStaging(t *testing.T) {
	t.Parallel()
	b := setup(t)
	transfertest.Write(t, b.source, "k", "bytes")
	outside := t.TempDir()
	transfertest.Write(t, outside, "deep/file", "precious")
	other := transfertest.StagedAt(b.target, "k", transfertest.NewClaim())
	transfertest.Must(t, os.MkdirAll(other+"/x/y/z", 0o755))
	transfertest.Must(t, os.Symlink(outside, other+"/x/y/link"))
	transfertest.Must(t, os.Symlink(outside, transfertest.StagedAt(b.target, "k", "link")))
	transfertest.Write(t, other, "x/read-only", "x")
	transfertest.Must(t, os.Chmod(other+"/x/read-only", 0o400))
	_, err := b.sync(t, "k", "")
	transfertest.Must(t, err)
	transfertest.WantContent(t, outside, "deep/file", "precious")
	transfertest.WantNoStaging(t, b.target)
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	small := filepath.Join(t.TempDir(), "small")
	transfertest.MountTmpfs(t, small, "size=256k,mode=755")
	f := setup(t, func(c *testConfig) { c.Target = small })
	transfertest.Write(t, f.source, "k", "fits")
	_, err := f.sync(t, "k", "")
	transfertest.Must(t, err)
	transfertest.Write(t, f.source, "k", strings.Repeat("too large", 100_000))
	_, err = f.sync(t, "k", "")
	transfertest.WantError(t, err, unix.ENOSPC)
	transfertest.WantContent(t, small, "k", "fits")
	transfertest.WantNoStaging(t, small)
}

func TestReadOnlyTarget(t *testing.T) {
	t.Parallel()
	small := filepath.Join(t.TempDir(), "small")
	transfertest.MountTmpfs(t, small, "size=1m,mode=755")
	f := setup(t, func(c *testConfig) { c.Target = small })
	transfertest.Write(t, f.source, "k", "1")
	_, err := f.sync(t, "k", "")
	transfertest.Must(t, err)
	run, err := f.Begin(t.Context(), transfer.Place{Key: "k", Claim: transfertest.NewClaim()})
	transfertest.Must(t, err)
	transfertest.Write(t, f.source, "k", "2")
	_, err = run.Copy(t.Context(), nil)
	transfertest.Must(t, err)
	transfertest.AwaitRelease(t, func() error { return unix.Mount("", small, "", unix.MS_REMOUNT|unix.MS_RDONLY, "") })
	transfertest.WantError(t, run.Publish(t.Context()), unix.EROFS)
	transfertest.WantError(t, run.Remove(t.Context()), unix.EROFS)
	transfertest.WantError(t, run.Close(), unix.EROFS)
	_, err = f.sync(t, "k", "")
	transfertest.WantError(t, err, unix.EROFS)
	transfertest.WantContent(t, small, "k", "1")
	transfertest.Must(t, unix.Mount("", small, "", unix.MS_REMOUNT, ""))
	_, err = f.sync(t, "k", "")
	transfertest.Must(t, err)
	transfertest.WantContent(t, small, "k", "2")
	transfertest.WantNoStaging(t, small)
}
