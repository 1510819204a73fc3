package transfer

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// gitMajor and gitMinor are the oldest git that will do: core.fsync is of 2.36.
const (
	gitMajor = 2
	gitMinor = 36
)

// gitConfig is what every git process of ours, and every one that those start
// (the upload-pack of a local source does not inherit -c), takes for the user's
// configuration. The system's and the user's own are not read.
const gitConfig = `[safe]
	directory = *
[core]
	hooksPath = /dev/null
	logAllRefUpdates = false
[gc]
	auto = 0
[maintenance]
	auto = false
[fetch]
	unpackLimit = 1
	writeCommitGraph = false
	recurseSubmodules = false
[init]
	defaultBranch = main
[http]
	lowSpeedLimit = 1
	lowSpeedTime = 600
`

// File descriptors of a git process. The source's number is part of its URL.
const (
	configFD = 3
	sourceFD = 4
	guardFD  = 5
)

// git runs git.
type git struct {
	path     string
	protocol string // allowed ones, for GIT_ALLOW_PROTOCOL
	extra    []string
	config   *os.File      // a memfd: nothing to clean up after a crash
	stall    time.Duration // without progress, after which git is ended
	// confined is what git may read besides a local source; nil: anything.
	confined *confinement
}

func openGit(ctx context.Context, path string, protocols, extra []string, log *slog.Logger) (*git, error) {
	if path == "" {
		path = "git"
	}
	found, err := exec.LookPath(path)
	if err != nil {
		return nil, fmt.Errorf("find git: %w (install git %d.%d or newer, or set GitPath)", err, gitMajor, gitMinor)
	}
	if found, err = filepath.Abs(found); err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("casq-gitconfig", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("keep git configuration in memory: %w", err)
	}
	g := &git{
		path: found, protocol: strings.Join(protocols, ":"), extra: extra, stall: gitStall,
		config: os.NewFile(uintptr(fd), "gitconfig"),
	}
	_, err = g.config.WriteString(gitConfig)
	if err == nil {
		err = g.checkVersion(ctx)
	}
	if err != nil {
		_ = g.close()
		return nil, err
	}
	g.confine(ctx, log)
	return g, nil
}

func (g *git) close() error {
	if g.confined != nil {
		g.confined.close()
	}
	return g.config.Close()
}

func (g *git) checkVersion(ctx context.Context) error {
	out, err := g.run(ctx, gitCall{args: []string{"version"}})
	if err != nil {
		return fmt.Errorf("ask git for its version: %w", err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(out, "git version %d.%d", &major, &minor); err != nil {
		return fmt.Errorf("read git's version %q: %w", strings.TrimSpace(out), err)
	}
	if major < gitMajor || (major == gitMajor && minor < gitMinor) {
		return fmt.Errorf("git at %s is %d.%d; %d.%d or newer is needed", g.path, major, minor, gitMajor, gitMinor)
	}
	return nil
}

// gitCall is one git process.
type gitCall struct {
	args []string
	// dir is where it runs, by handle: what is at that path by then does not
	// matter, and in a folder that has been deleted git refuses to start.
	dir *os.File
	// gitDir is GIT_DIR. Never empty in effect: git would search for a repository
	// in the folders above and take its configuration.
	gitDir string
	source *remote  // whose folder, if it is local, is file descriptor sourceFD
	guard  *os.File // the mirror's guard, locked for as long as the process lives
	stdin  string
	// strict makes a warning an error: a listing that warns leaves refs out.
	strict bool
}

// name is the git command, for messages.
func (c gitCall) name() string {
	args := c.args
	for len(args) > 2 && args[0] == "-c" {
		args = args[2:]
	}
	return args[0]
}

// maxOutput bounds what is read of git's standard output: the listing of about
// a million refs.
const maxOutput = 128 << 20

// run runs git and returns its standard output. When ctx ends the process and
// all that it has started are killed.
func (g *git) run(ctx context.Context, call gitCall) (string, error) {
	out := &bounded{limit: maxOutput}
	tail := &tail{}
	group := &processGroup{}
	ctx, end := watched(ctx, g.stall, group.pid)
	cmd := g.command(ctx, call, out, tail)
	err := g.onThread(call, func() error { return group.run(cmd) })
	ended := context.Cause(ctx)
	end()
	switch {
	case ended != nil:
		return "", fmt.Errorf("git %s: %w", call.name(), ended)
	case out.full:
		return "", fmt.Errorf("git %s: printed more than %d bytes", call.name(), maxOutput)
	case err == nil && call.strict && len(tail.kept) > 0:
		err = errBroken
	}
	if err != nil {
		return "", &gitError{command: call.name(), err: err, stderr: redact(tail.String())}
	}
	return out.String(), nil
}

func (g *git) command(ctx context.Context, call gitCall, out, errs io.Writer) *exec.Cmd {
	cmd := exec.CommandContext(ctx, g.path, call.args...)
	cmd.Env = g.environment(call)
	cmd.Stdin = strings.NewReader(call.stdin)
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	// A grandchild that left the group could hold our pipes open for ever.
	cmd.WaitDelay = 5 * time.Second
	if call.dir != nil {
		cmd.Dir = fmt.Sprintf("/proc/self/fd/%d", call.dir.Fd())
	}
	// A nil file is passed on as closed, and keeps the numbers of the others.
	cmd.ExtraFiles = []*os.File{configFD - 3: g.config, guardFD - 3: call.guard}
	if call.source != nil {
		cmd.ExtraFiles[sourceFD-3] = call.source.folder
	}
	return cmd
}

func (g *git) environment(call gitCall) []string {
	gitDir := call.gitDir
	if gitDir == "" {
		gitDir = "/nonexistent"
	}
	env := []string{
		"PATH=" + filepath.Dir(g.path) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/nonexistent",
		"LC_ALL=C",
		"GIT_SSH_COMMAND=ssh -o BatchMode=yes -o ServerAliveInterval=30 -o ServerAliveCountMax=10",
	}
	env = append(env, g.extra...)
	return append(env,
		"GIT_DIR="+gitDir,
		"GIT_ALLOW_PROTOCOL="+g.protocol,
		"GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_NOSYSTEM=1",
		fmt.Sprintf("GIT_CONFIG_GLOBAL=/proc/self/fd/%d", configFD),
		"GIT_ATTR_NOSYSTEM=1",
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_DEFAULT_REF_FORMAT=files",
	)
}
