package git

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"casq/internal/landlock"
	"casq/transfer"

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

// loginConfig has git ask for user and password of one origin, and where they are
// read from. What asks has nothing but a number in its command line.
const loginConfig = `[credential "%s"]
	helper =
	helper = "!f() { test \"$1\" != get || cat /proc/self/fd/%d; }; f"
`

// File descriptors of a git process. The source's number is part of its URL.
const (
	configFD = 3
	sourceFD = 4
	guardFD  = 5
	loginFD  = 6
	// lenderFD is what a clone may borrow objects from.
	lenderFD = 7
)

// git runs git.
type git struct {
	path     string
	protocol string // allowed ones, for GIT_ALLOW_PROTOCOL
	extra    []string
	caFile   string        // who may sign the certificates of sources
	config   *os.File      // a memfd: nothing to clean up after a crash
	login    *os.File      // likewise; nil: there is none
	stall    time.Duration // without progress, after which git is ended
	// small is what a run may read of one output; large has who may read more.
	small int
	large chan struct{}
	room  *room // of the run that this git is for
	// confined is what git may read besides a local source; nil: anything.
	confined *confinement
}

func openGit(ctx context.Context, cfg Config, login *login) (*git, error) {
	path := cmp.Or(cfg.GitPath, "git")
	found, err := exec.LookPath(path)
	if err != nil {
		return nil, fmt.Errorf("find git: %w (install git %d.%d or newer, or set GitPath)", err, gitMajor, gitMinor)
	}
	if found, err = filepath.Abs(found); err != nil {
		return nil, err
	}
	caFile, err := readable(cfg.CAFile)
	if err != nil {
		return nil, fmt.Errorf("read who may sign the certificates of sources: %w", err)
	}
	g := &git{
		path: found, protocol: strings.Join(cfg.AllowedProtocols, ":"), extra: cfg.Environment, caFile: caFile, stall: gitStall,
		small: smallOutput, large: make(chan struct{}, largeAtOnce),
	}
	err = g.remember(login)
	if err == nil {
		err = g.checkVersion(ctx)
	}
	if err != nil {
		_ = g.close()
		return nil, err
	}
	g.confine(ctx, cfg.Logger, landlock.Supported())
	return g, nil
}

// readable returns the whole path of a file that can be read: git says of one that cannot
// little that helps. "" is none.
func readable(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	if err := file.Close(); err != nil {
		return "", err
	}
	return filepath.Abs(name)
}

// remember puts what git processes read into memory.
func (g *git) remember(login *login) (err error) {
	config := gitConfig
	if login != nil {
		config += fmt.Sprintf(loginConfig, login.origin, loginFD)
		if g.login, err = inMemory("login", login.text); err != nil {
			return err
		}
	}
	g.config, err = inMemory("gitconfig", config)
	return err
}

func inMemory(name, content string) (*os.File, error) {
	fd, err := unix.MemfdCreate("casq-"+name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("keep git's %s in memory: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	if _, err := file.WriteString(content); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (g *git) close() error {
	if g.confined != nil {
		g.confined.close()
	}
	var errs []error
	for _, file := range []*os.File{g.config, g.login} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	return errors.Join(errs...)
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
	return g.checkHoles(ctx, strings.TrimSpace(out))
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
	lender *os.File // a repository that a clone may borrow objects from
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

// once runs git and returns its standard output. When ctx ends the process and
// all that it has started are killed.
func (g *git) once(ctx context.Context, call gitCall, limit int) (string, error) {
	out := &bounded{limit: limit}
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
		return "", fmt.Errorf("git %s: %w: more than %d bytes", call.name(), errTooLong, limit)
	case err == nil && call.strict && len(tail.kept) > 0:
		err = errBroken
	}
	if err != nil {
		return "", &gitError{command: call.name(), err: err, stderr: transfer.Redact(tail.String())}
	}
	return out.buffer.String(), nil
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
		cmd.ExtraFiles = append(cmd.ExtraFiles, g.login, call.lender)
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
	if g.caFile != "" {
		env = append(env, "GIT_SSL_CAINFO="+g.caFile)
	}
	return append(env,
		"GIT_DIR="+gitDir,
		"GIT_ALLOW_PROTOCOL="+g.protocol,
		"GIT_TERMINAL_PROMPT=0",
		"GIT_CONFIG_NOSYSTEM=1",
		fmt.Sprintf("GIT_CONFIG_GLOBAL=/proc/self/fd/%d", configFD),
		"GIT_ATTR_NOSYSTEM=1",
		// What a source lacks is not fetched from where its own config says, by
		// the command that its config says.
		"GIT_NO_LAZY_FETCH=1",
		"GIT_NO_REPLACE_OBJECTS=1",
		"GIT_DEFAULT_REF_FORMAT=files",
	)
}
