package folder_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// kinds are those that move from folder to folder.
var kinds = map[string]func(t *testing.T, source, target string) mover{"file": files, "repository": repositories}

func TestBadPlaces(t *testing.T) {
	t.Parallel()
	bad := []string{
		"", "/", "/etc/passwd", "..", ".", "../x", "a/../b", "a/..", "a/./b", "./a", "a//b", "a/", "//a",
		"a\x00b", "a\nb", "a\tb", "\x7f", "a\u0085b", "\xff\xfe", "a/\xc3\x28", strings.Repeat("a", 256),
		strings.Repeat("a/", 512) + "ab", strings.Repeat("x", 4096), ".casq", ".casq/x", ".CASQ/x",
	}
	for name, open := range kinds {
		b := setup(t, open)
		for _, key := range bad {
			for _, place := range []transfer.Place{
				{Key: key, Claim: transfertest.NewClaim()}, {Prefix: key, Key: "k", Claim: transfertest.NewClaim()},
				{SourcePrefix: key, Key: "k", Claim: transfertest.NewClaim()},
			} {
				if key == "" && place.Key == "k" {
					continue // no prefix is a good one
				}
				if _, err := b.Begin(t.Context(), place); !errors.Is(err, transfer.ErrBadPlace) {
					t.Errorf("%s: begin of %.40q: %v", name, key, err)
				}
				transfertest.WantError(t, b.Sweep(t.Context(), place), transfer.ErrBadPlace)
			}
		}
		for _, claim := range []string{"", "x", "../../x", strings.Repeat("0", 36), "00000000-0000-0000-0000-00000000000/", "00000000-0000-0000-0000-00000000000A"} {
			_, err := b.Begin(t.Context(), transfer.Place{Key: "k", Claim: claim})
			transfertest.WantError(t, err, transfer.ErrBadPlace)
		}
		entries, err := os.ReadDir(b.target)
		transfertest.Must(t, err)
		if len(entries) > 0 {
			t.Fatalf("%s: a bad place made %v", name, entries)
		}
	}
}

// hostileTargets plant a link where a run on "a/k" passes.
var hostileTargets = map[string]func(t *testing.T, target, outside string){
	"parent": func(t *testing.T, target, outside string) {
		transfertest.Must(t, os.Symlink(outside, filepath.Join(target, "a")))
	},
	"parent, relative": func(t *testing.T, target, outside string) {
		relative, err := filepath.Rel(target, outside)
		transfertest.Must(t, err)
		transfertest.Must(t, os.Symlink(relative, filepath.Join(target, "a")))
	},
	"parent, to a folder of the target": func(t *testing.T, target, _ string) {
		transfertest.Must(t, os.Mkdir(filepath.Join(target, "real"), 0o755))
		transfertest.Must(t, os.Symlink("real", filepath.Join(target, "a")))
	},
	"leaf": func(t *testing.T, target, outside string) {
		transfertest.Must(t, os.Mkdir(filepath.Join(target, "a"), 0o755))
		transfertest.Must(t, os.Symlink(filepath.Join(outside, "k"), target+"/a/k"))
	},
	"leaf, dangling": func(t *testing.T, target, outside string) {
		transfertest.Must(t, os.Mkdir(filepath.Join(target, "a"), 0o755))
		transfertest.Must(t, os.Symlink(filepath.Join(outside, "new"), target+"/a/k"))
	},
	"fifo": func(t *testing.T, target, _ string) {
		transfertest.Must(t, os.Mkdir(filepath.Join(target, "a"), 0o755))
		transfertest.Must(t, unix.Mkfifo(target+"/a/k", 0o644))
	},
	"staging": func(t *testing.T, target, outside string) {
		transfertest.Must(t, os.Symlink(outside, filepath.Join(target, transfer.StagingRoot)))
	},
	"staging of the key": func(t *testing.T, target, outside string) {
		transfertest.Must(t, os.MkdirAll(filepath.Join(target, transfer.StagingRoot), 0o755))
		transfertest.Must(t, os.Symlink(outside, filepath.Dir(transfertest.StagedAt(target, "a/k", "claim"))))
	},
}

func TestPlantedLinks(t *testing.T) {
	t.Parallel()
	for name, plant := range hostileTargets {
		for kind, open := range kinds {
			for _, walk := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s walk=%v", kind, name, walk), func(t *testing.T) {
					t.Parallel()
					b := setup(t, open)
					if walk {
						b.withoutOpenat2()
					}
					if kind == "repository" {
						transfertest.NewRepository(t, b.source, "a/k")
					} else {
						transfertest.Write(t, b.source, "a/k", "bytes")
					}
					outside := t.TempDir()
					transfertest.Write(t, outside, "k", "precious")
					plant(t, b.target, outside)
					_, err := b.sync(t, "a/k")
					transfertest.WantError(t, err, transfer.ErrUnsafe)
					transfertest.WantError(t, b.remove(t, "a/k"), transfer.ErrUnsafe)
					transfertest.WantContent(t, outside, "k", "precious")
					entries, err := os.ReadDir(outside)
					transfertest.Must(t, err)
					if len(entries) != 1 {
						t.Fatalf("outside has %v", entries)
					}
				})
			}
		}
	}
}

func TestMountPointBelowTarget(t *testing.T) {
	t.Parallel()
	for _, walk := range []bool{false, true} {
		b := setup(t, files)
		if walk {
			b.withoutOpenat2()
		}
		transfertest.MountTmpfs(t, filepath.Join(b.target, "a"), "size=64k")
		transfertest.Write(t, b.source, "a/k", "x")
		_, err := b.sync(t, "a/k")
		transfertest.WantError(t, err, unix.EXDEV)
		if !strings.Contains(err.Error(), "mount point") {
			t.Fatal(err)
		}
		transfertest.WantNoStaging(t, b.target)
	}
	target := t.TempDir()
	transfertest.MountTmpfs(t, filepath.Join(target, transfer.StagingRoot), "size=64k")
	_, err := folder.OpenTarget(target, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "mount point") {
		t.Fatal(err)
	}
}
