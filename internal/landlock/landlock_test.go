package landlock

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAThreadReadsOnlyWhatItMay(t *testing.T) {
	t.Parallel()
	if !Supported() {
		t.Skip("the kernel has no Landlock")
	}
	inside, outside := t.TempDir(), t.TempDir()
	for _, folder := range []string{inside, outside} {
		if err := os.WriteFile(filepath.Join(folder, "file"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(outside, "file"), filepath.Join(inside, "link")); err != nil {
		t.Fatal(err)
	}
	open := func(path string) *os.File {
		t.Helper()
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		return file
	}
	folders := []*os.File{open(inside), open("/usr"), open("/lib"), open("/bin")}
	if _, err := os.Stat("/lib64"); err == nil {
		folders = append(folders, open("/lib64"))
	}
	null := open("/dev/null")
	var at sync.WaitGroup
	for range 8 {
		at.Go(func() {
			err := Run(folders, []*os.File{null}, func() error {
				if _, err := os.ReadFile(filepath.Join(inside, "file")); err != nil {
					t.Errorf("inside: %v", err)
				}
				for _, path := range []string{filepath.Join(outside, "file"), filepath.Join(inside, "link")} {
					if _, err := os.ReadFile(path); !errors.Is(err, fs.ErrPermission) {
						t.Errorf("%s: %v", path, err)
					}
				}
				if err := os.WriteFile(filepath.Join(t.TempDir(), "new"), nil, 0o600); err != nil {
					t.Errorf("writing: %v", err)
				}
				out, err := exec.CommandContext(t.Context(), "cat", filepath.Join(inside, "file"), filepath.Join(inside, "link")).CombinedOutput()
				if err == nil || !strings.HasPrefix(string(out), "x") || !strings.Contains(string(out), "denied") {
					t.Errorf("a process: %v: %s", err, out)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	at.Wait()
	if _, err := os.ReadFile(filepath.Join(outside, "file")); err != nil {
		t.Errorf("another thread has lost it: %v", err)
	}
}
