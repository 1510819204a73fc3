package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"casq/transfer/folder"

	"golang.org/x/sys/unix"
)

// lock takes a lock on the guard; false: others hold it until grace was over.
func (m *mirror) lock(ctx context.Context, how int, grace time.Duration) (*os.File, bool, error) {
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_NONBLOCK
	fd, err := folder.RetryOpen(func() (int, error) {
		return unix.Openat(int(m.dir.Fd()), folder.GuardName, flags, 0o644)
	})
	if errors.Is(err, unix.ELOOP) {
		return nil, false, folder.KindLink.InTheWay(m.dir.Name() + "/" + folder.GuardName)
	}
	if err != nil {
		return nil, false, fmt.Errorf("open %s/%s: %w", m.dir.Name(), folder.GuardName, err)
	}
	guard := os.NewFile(uintptr(fd), m.dir.Name()+"/"+folder.GuardName)
	free, err := flock(ctx, fd, how, grace)
	if err != nil || !free {
		_ = guard.Close()
		return nil, false, err
	}
	return guard, true, nil
}

// flock asks every few milliseconds: a blocking flock can be ended by no ctx.
func flock(ctx context.Context, fd, how int, grace time.Duration) (bool, error) {
	const pause = 5 * time.Millisecond
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	over := time.NewTimer(grace)
	defer over.Stop()
	for {
		err := folder.Retry(func() error { return unix.Flock(fd, how|unix.LOCK_NB) })
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err == nil, err
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-over.C:
			return false, nil
		case <-ticker.C:
		}
	}
}

// guardWait is how long a git process of ours waits for the guard. Only Begin
// takes it exclusively, for the milliseconds that its cleaning lasts.
const guardWait = 10 * time.Second

// run runs git in the mirror.
func (m *mirror) run(ctx context.Context, call gitCall) (string, error) {
	call.dir, call.gitDir = m.dir, "."
	if m.reads {
		return m.git.run(ctx, call)
	}
	guard, free, err := m.lock(ctx, unix.LOCK_SH, guardWait)
	if err == nil && !free {
		err = fmt.Errorf("lock %s/%s: another run is cleaning up there", m.dir.Name(), folder.GuardName)
	}
	if err != nil {
		return "", err
	}
	// The child's copy keeps the lock after ours is closed.
	defer guard.Close()
	call.guard = guard
	return m.git.run(ctx, call)
}
