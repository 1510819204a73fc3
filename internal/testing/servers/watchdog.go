package servers

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

//go:embed watchdog.sh
var watchdogScript string

// watchdog is a shell that ends servers when this process is gone. It holds the
// reading end of a pipe whose writing end only this process has; the kernel
// closes that on any kind of death. A child between fork and exec has the
// writing end too, so the watchdog starts to look only when that child is in
// its folder.
type watchdog struct {
	cmd   *exec.Cmd
	input *os.File
}

// startWatchdog starts a watchdog. It shares lock, if not nil: the lock is held
// until both this process and the watchdog are done with it.
func startWatchdog(user account, lock *os.File) (*watchdog, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the servers' watchdog: %w", err)
	}
	defer read.Close()
	cmd := exec.Command("/bin/sh", "-c", watchdogScript, "casq-watchdog")
	cmd.Dir = "/"
	cmd.Env = environment()
	cmd.Stdin = read
	cmd.SysProcAttr = user.attributes()
	if lock != nil {
		cmd.ExtraFiles = []*os.File{lock}
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the servers' watchdog: %w", err), write.Close())
	}
	return &watchdog{cmd: cmd, input: write}, nil
}

// tell sends one line. It must be called before a server is started in dir.
func (w *watchdog) tell(verb, dir string) error {
	if strings.ContainsAny(dir, "\n\\") || strings.TrimSpace(dir) != dir {
		return fmt.Errorf("use folder %q for a server: line breaks, backslashes and blanks at the ends are not supported", dir)
	}
	if _, err := fmt.Fprintf(w.input, "%s %s\n", verb, dir); err != nil {
		return fmt.Errorf("tell the servers' watchdog: %w", err)
	}
	return nil
}

// finish lets the watchdog do its work and waits for its end.
func (w *watchdog) finish() error {
	closeErr := w.input.Close()
	if err := w.cmd.Wait(); err != nil {
		return fmt.Errorf("finish the servers' watchdog: %w", err)
	}
	return closeErr
}

// endLeftovers does what the watchdogs of dead processes do, in case they were
// killed too.
func endLeftovers(user account, verb string, dirs ...string) error {
	w, err := startWatchdog(user, nil)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := w.tell(verb, dir); err != nil {
			return errors.Join(err, w.finish())
		}
	}
	return w.finish()
}

// environment is that of every child: nothing of the caller's, whose PGPORT or
// PGOPTIONS would change what a server does. Messages are in English, and in German to
// a session with another lc_messages than C, as the C library has it.
func environment() []string {
	return []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "LANGUAGE=de", "TZ=UTC"}
}
