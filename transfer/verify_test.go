package transfer

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestVerifyFile(t *testing.T) {
	t.Parallel()
	sum := func(content string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(content))) }
	const good = "the bytes"
	corrupt := func(t *testing.T, b *filesBundle) { write(t, b.target, "a/x", "the byteZ") }
	vanish := func(t *testing.T, b *filesBundle) { must(t, os.Remove(filepath.Join(b.target, "a", "x"))) }
	keep := func(*testing.T, *filesBundle) {}
	for name, test := range map[string]struct {
		change   func(t *testing.T, b *filesBundle)
		payload  string
		checksum string
		want     error
		says     string
	}{
		"as it was copied":                {change: keep, checksum: "sha256:" + sum(good)},
		"as the payload says":             {change: keep, payload: `{"sha256": "` + sum(good) + `"}`},
		"as the source has it":            {change: keep},
		"a byte differs from the copy":    {change: corrupt, checksum: "sha256:" + sum(good), want: ErrMismatch, says: "by the checksum of its copy"},
		"a byte differs from the payload": {change: corrupt, payload: `{"sha256": "` + sum(good) + `"}`, want: ErrMismatch, says: "by the payload"},
		"a byte differs from the source":  {change: corrupt, want: ErrMismatch, says: "by the source"},
		"cut short": {
			change:   func(t *testing.T, b *filesBundle) { write(t, b.target, "a/x", "") },
			checksum: "sha256:" + sum(good), want: ErrMismatch, says: "in place",
		},
		"absent":        {change: vanish, checksum: "sha256:" + sum(good), want: ErrMismatch, says: "no such file in place"},
		"folder absent": {change: func(t *testing.T, b *filesBundle) { must(t, os.RemoveAll(filepath.Join(b.target, "a"))) }, want: ErrMismatch, says: "no such file in place"},
		"a link": {
			change: func(t *testing.T, b *filesBundle) {
				vanish(t, b)
				must(t, os.Symlink(filepath.Join(b.source, "a", "x"), filepath.Join(b.target, "a", "x")))
			},
			want: ErrMismatch, says: "symbolic link",
		},
		"a folder": {
			change: func(t *testing.T, b *filesBundle) {
				vanish(t, b)
				must(t, os.Mkdir(filepath.Join(b.target, "a", "x"), 0o755))
			},
			want: ErrMismatch, says: "not a regular file",
		},
		"gone from the source, which is asked":          {change: func(t *testing.T, b *filesBundle) { must(t, os.Remove(filepath.Join(b.source, "a", "x"))) }, want: ErrMissing},
		"gone from the source, which need not be asked": {change: func(t *testing.T, b *filesBundle) { must(t, os.Remove(filepath.Join(b.source, "a", "x"))) }, checksum: "sha256:" + sum(good)},
		"a bad payload":  {change: keep, payload: `[]`, want: ErrBadPayload},
		"a bad checksum": {change: keep, checksum: "md5:x", want: errAny, says: "stored checksum"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupFiles(t)
			write(t, b.source, "a/x", good)
			_, err := b.sync(t, "a/x", "")
			must(t, err)
			test.change(t, b)
			before := snapshot(t, b.target)
			err = b.Verify(t.Context(), Place{Key: "a/x"}, json.RawMessage(test.payload), test.checksum)
			wantVerdict(t, err, test.want, test.says)
			if after := snapshot(t, b.target); after != before {
				t.Errorf("it wrote: %s, before %s", after, before)
			}
		})
	}
}

// errAny stands for an error that is not one of the package's.
var errAny = errors.New("any")

func wantVerdict(t *testing.T, err, want error, says string) {
	t.Helper()
	switch {
	case want == nil:
		must(t, err)
		return
	case errors.Is(want, errAny):
		if err == nil || errors.Is(err, ErrMismatch) || errors.Is(err, ErrMissing) {
			t.Fatalf("error is %v", err)
		}
	default:
		wantError(t, err, want)
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("error is %q, want %q in it", err, says)
	}
}

// snapshot names all that is below a folder.
func snapshot(t *testing.T, folder string) string {
	t.Helper()
	var text strings.Builder
	must(t, filepath.Walk(folder, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&text, path, info.Mode(), info.Size(), info.ModTime())
		}
		return err
	}))
	return text.String()
}

func TestVerifyRepository(t *testing.T) {
	t.Parallel()
	glob := func(t *testing.T, pattern string) string {
		t.Helper()
		found, err := filepath.Glob(pattern)
		must(t, err)
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
			gitIn(t, place, "update-ref", "refs/heads/main", "refs/heads/main~1")
		}, want: ErrMismatch, says: "refs/heads/main"},
		"a ref gone":   {change: func(t *testing.T, _, place string) { gitIn(t, place, "update-ref", "-d", "refs/heads/main") }, want: ErrMismatch, says: "nothing in place"},
		"a ref more":   {change: func(t *testing.T, _, place string) { gitIn(t, place, "update-ref", "refs/heads/x", "refs/heads/main") }, want: ErrMismatch, says: "nothing there"},
		"another HEAD": {change: func(t *testing.T, _, place string) { gitIn(t, place, "symbolic-ref", "HEAD", "refs/heads/x") }, want: ErrMismatch, says: "HEAD"},
		"no objects": {
			change: func(t *testing.T, _, place string) {
				must(t, os.RemoveAll(filepath.Join(place, "objects", "pack")))
				must(t, os.Mkdir(filepath.Join(place, "objects", "pack"), 0o755))
			},
			want: ErrMismatch, damaged: true,
		},
		"an object less": {
			change: func(t *testing.T, _, place string) {
				// Not the tip, which a listing of the refs reads.
				parent := gitIn(t, place, "rev-parse", "main~1")
				aside := filepath.Join(t.TempDir(), "pack")
				must(t, os.Rename(glob(t, filepath.Join(place, "objects", "pack", "*.pack")), aside))
				must(t, os.Remove(glob(t, filepath.Join(place, "objects", "pack", "*.idx"))))
				unpack := exec.CommandContext(t.Context(), "sh", "-c", "git -C '"+place+"' unpack-objects -q <'"+aside+"'")
				unpack.Env = append(unpack.Environ(), "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*")
				must(t, unpack.Run())
				must(t, os.Remove(filepath.Join(place, "objects", parent[:2], parent[2:])))
			},
			want: ErrMismatch, damaged: true,
		},
		"a byte of a pack": {
			change: func(t *testing.T, _, place string) {
				pack := glob(t, filepath.Join(place, "objects", "pack", "*.pack"))
				must(t, os.Chmod(pack, 0o644))
				content, err := os.ReadFile(pack)
				must(t, err)
				content[len(content)/2] ^= 0xff
				must(t, os.WriteFile(pack, content, 0o444))
			},
			want: ErrMismatch, damaged: true,
		},
		"a byte of a pack, and a ref moved": {
			change: func(t *testing.T, source, place string) {
				pack := glob(t, filepath.Join(place, "objects", "pack", "*.pack"))
				must(t, os.Chmod(pack, 0o644))
				content, err := os.ReadFile(pack)
				must(t, err)
				content[len(content)/2] ^= 0xff
				must(t, os.WriteFile(pack, content, 0o444))
				commit(t, source, "refs/heads/main", "moved on")
			},
			want: ErrMismatch, damaged: true,
		},
		"another config": {change: func(t *testing.T, _, place string) { gitIn(t, place, "config", "core.sshCommand", "false") }, want: ErrMismatch, says: "config", damaged: true},
		"not there":      {change: func(t *testing.T, _, place string) { must(t, os.RemoveAll(place)) }, want: ErrMismatch, says: "no repository in place"},
		"a claim's refs": {change: func(t *testing.T, _, place string) {
			gitIn(t, place, "update-ref", "refs/casq/"+claim()+"/fence", "refs/heads/main")
		}},
		"gone at the source": {change: func(t *testing.T, source, _ string) { must(t, os.RemoveAll(source)) }, want: ErrMissing},
		"moved on at the source": {change: func(t *testing.T, source, _ string) {
			gitIn(t, source, "update-ref", "refs/heads/new", "refs/heads/main")
		}, want: ErrMismatch, says: "refs/heads/new"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupRepositories(t)
			source := b.newSource(t, "r")
			// Most of the pack is a blob, which nothing reads but who reads all of it.
			bytes := make([]byte, 64<<10)
			_, _ = rand.NewChaCha8([32]byte{1}).Read(bytes)
			write(t, source, "blob", string(bytes))
			gitIn(t, source, "update-index", "--add", "--cacheinfo", "100644,"+gitIn(t, source, "hash-object", "-w", "blob")+",blob")
			tree := gitIn(t, source, "write-tree")
			gitIn(t, source, "update-ref", "refs/heads/main", gitIn(t, source, "commit-tree", tree, "-p", "main", "-m", "two"))
			b.mustSync(t, "r")
			place := filepath.Join(b.target, "r")
			test.change(t, source, place)
			err := b.Verify(t.Context(), Place{Key: "r"}, nil, "")
			wantVerdict(t, err, test.want, test.says)
			if errors.Is(err, ErrDamaged) != test.damaged {
				t.Errorf("damaged: %v", err)
			}
			if !errors.Is(err, ErrMismatch) {
				return
			}
			repair := Place{Key: "r", Claim: claim(), Fresh: test.damaged}
			result, err := b.sync(t, repair)
			must(t, err)
			if updated := name == "a ref moved" || name == "a ref gone" || name == "a ref more" || name == "another HEAD" || name == "moved on at the source"; result.Partial != updated {
				t.Errorf("the repair is %+v", result)
			}
			must(t, b.Verify(t.Context(), Place{Key: "r"}, nil, ""))
		})
	}
}
