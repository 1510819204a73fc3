package transfertest

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"casq/internal/testing/expect"

	"github.com/google/uuid"
)

// Must ends the test on an error.
var Must = expect.NoError

// WantError ends the test unless the error is, or wraps, the target.
func WantError(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("error is %v, want %v", err, target)
	}
}

// NewClaim is another one each time.
func NewClaim() string { return uuid.NewString() }

// Inode is the inode of a file, and the number of its names.
func Inode(t *testing.T, path string) (ino, names uint64) {
	t.Helper()
	info, err := os.Stat(path)
	Must(t, err)
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatalf("%T", info.Sys())
	}
	return st.Ino, st.Nlink
}
