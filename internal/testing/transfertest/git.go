package transfertest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Git runs git in a folder, as the user whose repositories these are.
func Git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := TryGit(dir, args...)
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(out)
}

// TryGit is Git where git may fail.
func TryGit(dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(context.Background(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(),
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_COUNT=2",
		"GIT_CONFIG_KEY_0=init.defaultBranch", "GIT_CONFIG_VALUE_0=main",
		"GIT_CONFIG_KEY_1=safe.directory", "GIT_CONFIG_VALUE_1=*",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org",
		"GIT_COMMITTER_NAME=c", "GIT_COMMITTER_EMAIL=c@example.org")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// GitPath is the git program in PATH.
func GitPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("git")
	Must(t, err)
	return path
}

// NewRepository makes a bare repository with one commit on main.
func NewRepository(t *testing.T, folder, key string) string {
	t.Helper()
	dir := filepath.Join(folder, key)
	Must(t, os.MkdirAll(dir, 0o755))
	Git(t, dir, "init", "--quiet", "--bare")
	Commit(t, dir, "refs/heads/main", "one")
	return dir
}

// Commit puts a commit on a ref of a bare repository and returns its id.
func Commit(t *testing.T, dir, ref, message string) string {
	t.Helper()
	tree := Git(t, dir, "hash-object", "-w", "-t", "tree", "/dev/null")
	args := []string{"commit-tree", tree, "-m", message}
	if parent, err := TryGit(dir, "rev-parse", "--verify", "--quiet", ref); err == nil {
		args = append(args, "-p", strings.TrimSpace(parent))
	}
	oid := Git(t, dir, args...)
	Git(t, dir, "update-ref", ref, oid)
	return oid
}

// State is all that can be seen of a repository.
func State(t *testing.T, dir string) string {
	t.Helper()
	headText, err := os.ReadFile(filepath.Join(dir, "HEAD"))
	Must(t, err)
	return Git(t, dir, "for-each-ref", "--format=%(objectname) %(refname)") + "\nHEAD " + string(headText)
}

// WantSame compares what can be seen of a repository below two folders.
func WantSame(t *testing.T, source, target, key string) {
	t.Helper()
	want, got := State(t, filepath.Join(source, key)), State(t, filepath.Join(target, key))
	if want != got {
		t.Fatalf("source:\n%s\ntarget:\n%s", want, got)
	}
	Git(t, filepath.Join(target, key), "fsck", "--strict")
}
