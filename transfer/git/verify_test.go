package git

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"casq/internal/testing/transfertest"
	"casq/transfer"
)

func TestVerifyRepository(t *testing.T) {
	t.Parallel()
	glob := func(t *testing.T, pattern string) string {
		t.Helper()
		found, err := filepath.Glob(pattern)
		transfertest.Must(t, err)
		if len(found) == 0 {
			t.Fatalf("nothing is like %s", pattern)
		}
		return found[0]
	}
	for name, test := range map[string]struct {
		change  func(t *testing.T, source, place string)
		want    error
		says    string
		damaged bool // beyond what an update mends
	}{
		"the same": {change: func(*testing.T, string, string) {}},
		"a ref moved": {change: func(t *testing.T, _, place string) {
			transfertest.Git(t, place, "update-ref", "refs/heads/main", "refs/heads/main~1")
		}, want: transfer.ErrMismatch, says: "refs/heads/main"},
		"a ref gone": {change: func(t *testing.T, _, place string) { transfertest.Git(t, place, "update-ref", "-d", "refs/heads/main") }, want: transfer.ErrMismatch, says: "nothing in place"},
		"a ref more": {change: func(t *testing.T, _, place string) {
			transfertest.Git(t, place, "update-ref", "refs/heads/x", "refs/heads/main")
		}, want: transfer.ErrMismatch, says: "nothing there"},
		"another HEAD": {change: func(t *testing.T, _, place string) {
			transfertest.Git(t, place, "symbolic-ref", "HEAD", "refs/heads/x")
		}, want: transfer.ErrMismatch, says: "HEAD"},
		"no objects": {
			change: func(t *testing.T, _, place string) {
				transfertest.Must(t, os.RemoveAll(filepath.Join(place, "objects", "pack")))
				transfertest.Must(t, os.Mkdir(filepath.Join(place, "objects", "pack"), 0o755))
			},
			want: transfer.ErrMismatch, damaged: true,
		},
		"an object less": {
			change: func(t *testing.T, _, place string) {
				// Not the tip, which a listing of the refs reads.
				parent := transfertest.Git(t, place, "rev-parse", "main~1")
				aside := filepath.Join(t.TempDir(), "pack")
				transfertest.Must(t, os.Rename(glob(t, filepath.Join(place, "objects", "pack", "*.pack")), aside))
				transfertest.Must(t, os.Remove(glob(t, filepath.Join(place, "objects", "pack", "*.idx"))))
				unpack := exec.CommandContext(t.Context(), "sh", "-c", "git -C '"+place+"' unpack-objects -q <'"+aside+"'")
				unpack.Env = append(unpack.Environ(), "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*")
				transfertest.Must(t, unpack.Run())
				transfertest.Must(t, os.Remove(filepath.Join(place, "objects", parent[:2], parent[2:])))
			},
			want: transfer.ErrMismatch, damaged: true,
		},
		"a byte of a pack": {
			change: func(t *testing.T, _, place string) {
				pack := glob(t, filepath.Join(place, "objects", "pack", "*.pack"))
				transfertest.Must(t, os.Chmod(pack, 0o644))
				content, err := os.ReadFile(pack)
				transfertest.Must(t, err)
				content[len(content)/2] ^= 0xff
				transfertest.Must(t, os.WriteFile(pack, content, 0o444))
			},
			want: transfer.ErrMismatch, damaged: true,
		},
		"a byte of a pack, and a ref moved": {
			change: func(t *testing.T, source, place string) {
				pack := glob(t, filepath.Join(place, "objects", "pack", "*.pack"))
				transfertest.Must(t, os.Chmod(pack, 0o644))
				content, err := os.ReadFile(pack)
				transfertest.Must(t, err)
				content[len(content)/2] ^= 0xff
				transfertest.Must(t, os.WriteFile(pack, content, 0o444))
				transfertest.Commit(t, source, "refs/heads/main", "moved on")
			},
			want: transfer.ErrMismatch, damaged: true,
		},
		"another config": {change: func(t *testing.T, _, place string) { transfertest.Git(t, place, "config", "core.sshCommand", "false") }, want: transfer.ErrMismatch, says: "config", damaged: true},
		"not there":      {change: func(t *testing.T, _, place string) { transfertest.Must(t, os.RemoveAll(place)) }, want: transfer.ErrMismatch, says: "no repository in place"},
		"a claim's refs": {change: func(t *testing.T, _, place string) {
			transfertest.Git(t, place, "update-ref", "refs/casq/"+transfertest.NewClaim()+"/fence", "refs/heads/main")
		}},
		"gone at the source": {change: func(t *testing.T, source, _ string) { transfertest.Must(t, os.RemoveAll(source)) }, want: transfer.ErrMissing},
		"moved on at the source": {change: func(t *testing.T, source, _ string) {
			transfertest.Git(t, source, "update-ref", "refs/heads/new", "refs/heads/main")
		}, want: transfer.ErrMismatch, says: "refs/heads/new"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			source := b.newSource(t, "r")
			// Most of the pack is a blob, which nothing reads but who reads all of it.
			bytes := make([]byte, 64<<10)
			_, _ = rand.NewChaCha8([32]byte{1}).Read(bytes)
			transfertest.Write(t, source, "blob", string(bytes))
			transfertest.Git(t, source, "update-index", "--add", "--cacheinfo", "100644,"+transfertest.Git(t, source, "hash-object", "-w", "blob")+",blob")
			tree := transfertest.Git(t, source, "write-tree")
			transfertest.Git(t, source, "update-ref", "refs/heads/main", transfertest.Git(t, source, "commit-tree", tree, "-p", "main", "-m", "two"))
			b.mustSync(t, "r")
			place := filepath.Join(b.target, "r")
			test.change(t, source, place)
			err := b.Verify(t.Context(), transfer.Place{Key: "r"}, nil, "")
			transfertest.WantVerdict(t, err, test.want, test.says)
			if errors.Is(err, transfer.ErrDamaged) != test.damaged {
				t.Errorf("damaged: %v", err)
			}
			if !errors.Is(err, transfer.ErrMismatch) {
				return
			}
			repair := transfer.Place{Key: "r", Claim: transfertest.NewClaim(), Fresh: test.damaged}
			result, err := b.sync(t, repair)
			transfertest.Must(t, err)
			if updated := name == "a ref moved" || name == "a ref gone" || name == "a ref more" || name == "another HEAD" || name == "moved on at the source"; result.Partial != updated {
				t.Errorf("the repair is %+v", result)
			}
			transfertest.Must(t, b.Verify(t.Context(), transfer.Place{Key: "r"}, nil, ""))
		})
	}
}
