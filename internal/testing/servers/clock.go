package servers

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

//go:embed preload/clock.c
var clockSource []byte

// clockEnvironment makes the wall clock of the place's server differ from the
// machine's. It is the server's clock that is set and not the worker's, as Go
// programs ask the kernel without the C library. Time-outs go by intervals, and
// stay as they are.
//
// libfaketime does the same and more, and was given up: a signal handler that
// interrupts one of its waits sees the machine's clock, so with a server ahead of
// it neither statement_timeout nor idle_in_transaction_session_timeout came.
func (p *place) clockEnvironment(ctx context.Context, ahead time.Duration) ([]string, error) {
	if ahead == 0 {
		return nil, nil
	}
	compiler, err := exec.LookPath("gcc")
	if err != nil {
		return nil, fmt.Errorf("give a server another clock: %w: Debian and Ubuntu: apt-get install gcc libc6-dev", errors.Join(ErrNotInstalled, err))
	}
	source, library := filepath.Join(p.dir, "clock.c"), filepath.Join(p.dir, "clock.so")
	if err := p.run.user.write(source, clockSource); err != nil {
		return nil, fmt.Errorf("give a server another clock: %w", err)
	}
	out, err := p.command(ctx, compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("give a server another clock: %w: %s", err, out)
	}
	return []string{"LD_PRELOAD=" + library, "CASQ_CLOCK=" + strconv.FormatInt(ahead.Nanoseconds(), 10)}, nil
}
