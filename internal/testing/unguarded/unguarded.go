// Package unguarded makes naive twins of what transfers guard by, from outside: the
// product has no switch for them.
package unguarded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Folder returns another name of a folder, which leads to that very folder for as
// long as this process lives, whatever its own name leads to by then. Who is given it
// holds the folder by handle.
func Folder(name string) (string, error) {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), nil
}

// Target is the folder of a target, whose runs leave alone what other claims have
// staged, and do not ask whether a git of theirs lives.
type Target string

// Names in a target.
const (
	staging = ".casq"
	hidden  = staging + "/hidden"
	guard   = "casq.guard"
)

// Around calls begin, and has put back in the end what that has deleted.
func (t Target) Around(begin func() error) error {
	return errors.Join(t.hide(), begin(), t.show())
}

// Hook is Around for a worker that calls it at named points.
func (t Target) Hook(point string) {
	var err error
	switch point {
	case "work:claimed":
		err = t.hide()
	case "begin:made":
		err = t.show()
	}
	if err != nil {
		panic(err)
	}
}

// hide moves what is staged out of the way. A handle follows it.
func (t Target) hide() error {
	guards := filepath.WalkDir(string(t), func(path string, _ fs.DirEntry, err error) error {
		if filepath.Base(path) == guard {
			err = os.Remove(path) //nolint:gosec // in a folder of a test
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // gone meanwhile
		}
		return err
	})
	return errors.Join(guards, t.move(staging, hidden))
}

// show moves it back.
func (t Target) show() error {
	return errors.Join(t.move(hidden, staging), os.RemoveAll(filepath.Join(string(t), hidden)))
}

// move moves what each claim has.
func (t Target) move(from, to string) error {
	claims, err := filepath.Glob(filepath.Join(string(t), from, "??", "*"))
	for _, claim := range claims {
		folder := filepath.Join(string(t), to, filepath.Base(filepath.Dir(claim)))
		err = errors.Join(err, os.MkdirAll(folder, 0o700), os.Rename(claim, filepath.Join(folder, filepath.Base(claim))))
	}
	return err
}

// Git returns a git that updates refs without regard to those by which claims fence
// each other: old values are all that it compares.
func Git(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "git")
	script := fmt.Sprintf(`#!/bin/sh
case "$*" in *"update-ref --no-deref --stdin") sed '/ refs\/casq\//d' | %[1]s "$@"; exit ;; esac
exec %[1]s "$@"
`, program)
	// No process is forked meanwhile: it would hold the file open for writing.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(name, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return name
}
