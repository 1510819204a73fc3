// Package landlock limits what one thread, and whatever is started from it, can
// read: Linux' Landlock, of which golang.org/x/sys has the numbers and no calls. It
// takes no privilege. What is open already is not touched, and neither is writing.
package landlock

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	createVersion = 1 // LANDLOCK_CREATE_RULESET_VERSION
	pathBeneath   = 1 // LANDLOCK_RULE_PATH_BENEATH

	readFile = unix.LANDLOCK_ACCESS_FS_READ_FILE
	readDir  = unix.LANDLOCK_ACCESS_FS_READ_DIR
)

// Supported tells whether the kernel can, and may, do it: since 5.13, and where
// neither its configuration nor a container's forbids it.
func Supported() bool {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, createVersion)
	return errno == 0 && version >= 1
}

// Run calls f on a thread that can open for reading only what lies below the
// folders, and the files. Threads and processes that f starts inherit it. The thread
// ends with f: what was given up cannot be got back.
func Run(folders, files []*os.File, f func() error) error {
	done := make(chan error, 1)
	go run(folders, files, f, done)
	return <-done
}

func run(folders, files []*os.File, f func() error, done chan<- error) {
	// Never unlocked: the thread is not used again.
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The main thread cannot end. While this one has it, another goroutine gets
		// another thread.
		done <- Run(folders, files, f)
		runtime.UnlockOSThread()
		return
	}
	if err := restrict(folders, files); err != nil {
		done <- fmt.Errorf("limit what can be read: %w", err)
		return
	}
	done <- f()
}

func restrict(folders, files []*os.File) error {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: readFile | readDir}
	// The first member is all that the first version of the call knows.
	ruleset, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET,
		uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr.Handled_access_fs), 0) //nolint:gosec // see the package
	if errno != 0 {
		return os.NewSyscallError("landlock_create_ruleset", errno)
	}
	defer unix.Close(int(ruleset))
	err := errors.Join(allow(int(ruleset), folders, readFile|readDir), allow(int(ruleset), files, readFile))
	if err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0, 0); errno != 0 {
		return os.NewSyscallError("landlock_restrict_self", errno)
	}
	return nil
}

func allow(ruleset int, below []*os.File, access uint64) error {
	for _, file := range below {
		attr := unix.LandlockPathBeneathAttr{Allowed_access: access, Parent_fd: int32(file.Fd())}
		_, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE,
			uintptr(ruleset), pathBeneath, uintptr(unsafe.Pointer(&attr)), 0, 0, 0) //nolint:gosec // see the package
		runtime.KeepAlive(file)
		if errno != 0 {
			return fmt.Errorf("allow %s: %w", file.Name(), os.NewSyscallError("landlock_add_rule", errno))
		}
	}
	return nil
}
