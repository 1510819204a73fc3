package servers

import (
	"fmt"
	"path/filepath"
	"time"
)

// clockEnvironment makes a program's wall clock differ from the machine's. Go
// programs ask the kernel without the C library, so it is the server's clock
// that is set, not the worker's.
func clockEnvironment(ahead time.Duration) ([]string, error) {
	if ahead == 0 {
		return nil, nil
	}
	for _, pattern := range []string{"/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib*/faketime/libfaketime.so.1"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return []string{
				"LD_PRELOAD=" + found[0],
				fmt.Sprintf("FAKETIME=%+.3f", ahead.Seconds()),
				// Time-outs go by the monotonic clock, which no operator sets.
				"DONT_FAKE_MONOTONIC=1", "FAKETIME_DONT_FAKE_MONOTONIC=1",
				// Otherwise a killed server leaves files in /dev/shm.
				"FAKETIME_DISABLE_SHM=1",
			}, nil
		}
	}
	return nil, fmt.Errorf("give a server another clock: %w: Debian and Ubuntu: apt-get install libfaketime", ErrNotInstalled)
}
