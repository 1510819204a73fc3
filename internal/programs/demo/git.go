package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// gitConfig is all the configuration that git has here: neither the system's
// nor the user's. Repositories of other people may be read, and nothing starts
// in the background.
const gitConfig = `[safe]
	directory = *
[core]
	hooksPath = /dev/null
[gc]
	auto = 0
[maintenance]
	auto = false
[user]
	name = casq demo
	email = demo@example.invalid
[init]
	defaultBranch = main
[advice]
	detachedHead = false
`

// git runs git commands.
type git struct{ env []string }

func newGit(w *workspace, path string) (*git, error) {
	config := w.path("gitconfig")
	if err := os.WriteFile(config, []byte(gitConfig), 0o600); err != nil {
		return nil, fmt.Errorf("write git's configuration: %w", err)
	}
	return &git{env: []string{
		"PATH=" + path,
		"HOME=/nonexistent",
		"LC_ALL=C",
		"GIT_CONFIG_GLOBAL=" + config,
		"GIT_CONFIG_NOSYSTEM=1",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_ALLOW_PROTOCOL=file",
		// Reading must write nothing: neither a refreshed index nor objects
		// that a partial clone lacks.
		"GIT_OPTIONAL_LOCKS=0",
		"GIT_NO_LAZY_FETCH=1",
	}}, nil
}

// run runs git in a git folder ("" for none) and returns what it prints. When
// ctx ends, git and all that it has started are killed.
func (g *git) run(ctx context.Context, gitDir, stdin string, args ...string) (string, error) {
	if gitDir != "" {
		args = append([]string{"--git-dir=" + gitDir}, args...)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Env, cmd.Dir = g.env, "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	done := make(chan error)
	go func() {
		// The signal for the parent's death is that of the thread's.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- cmd.Run()
	}()
	if err := <-done; err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", &gitError{args, err, lastLine(errs.String())}
	}
	return out.String(), nil
}

// gitError is the failure of a git command.
type gitError struct {
	args []string
	err  error
	said string // the last line of what it printed about it
}

func (e *gitError) Error() string {
	return fmt.Sprintf("git %s: %v: %s", strings.Join(e.args, " "), e.err, e.said)
}

func (e *gitError) Unwrap() error { return e.err }

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return strings.TrimSpace(text[strings.LastIndexByte(text, '\n')+1:])
}

// isGitFolder tells whether a folder is a repository's git folder: a bare one,
// or the .git of one with files. A linked work tree has none of its own.
func isGitFolder(dir string) bool {
	for _, part := range []struct {
		name   string
		folder bool
	}{{"HEAD", false}, {"objects", true}, {"refs", true}} {
		info, err := os.Lstat(filepath.Join(dir, part.name))
		if err != nil || info.IsDir() != part.folder {
			return false
		}
	}
	return true
}

var errNoRepository = errors.New("no git repository")

// findRepository returns the git folder of dir, which may be one itself; "" is
// the working directory. It returns errNoRepository when there is none.
func (g *git) findRepository(ctx context.Context, dir string) (string, error) {
	if dir != "" && isGitFolder(dir) {
		return filepath.EvalSymlinks(dir)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	out, err := g.run(ctx, "", "", "-C", dir, "rev-parse", "--path-format=absolute", "--git-common-dir")
	if err != nil {
		if ctx.Err() != nil {
			return "", err
		}
		return "", fmt.Errorf("%w at %s: %w", errNoRepository, dir, err)
	}
	return filepath.EvalSymlinks(strings.TrimSuffix(out, "\n"))
}
