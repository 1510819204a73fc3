package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"

	"casq/internal/testing/child"
)

// stopped tells whether the kernel has stopped a process. The state follows the
// program's name, which is in parentheses.
func stopped(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, found := strings.Cut(string(stat), ") ")
	return err == nil && found && after[0] == 'T'
}

// obeyOrders returns a hook that does what the file of orders says: a worker
// that comes to the point named there signals itself.
func obeyOrders(file string) func(point string) {
	return func(point string) {
		text, err := os.ReadFile(file)
		if err != nil {
			return // there is no order
		}
		for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
			if string(text) == order(point, s) && os.Remove(file) == nil {
				child.SignalSelf(s)
			}
		}
	}
}
