package servers

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"syscall"
)

// Stop ends the server for good. A server in a folder of the caller's is shut
// down in order and its data are kept; a temporary one is ended at once and its
// folder removed. A server that has not ended when ctx is done, or after a
// minute, is killed, and the error says so. Stop may be called again.
func (p *Postgres) Stop(ctx context.Context) error {
	if p.place.kept() {
		return p.stop(ctx, syscall.SIGINT, func() {})
	}
	return p.stop(ctx, syscall.SIGQUIT, func() { p.freeSegment(context.WithoutCancel(ctx)) })
}

// StopImmediate ends the server as `pg_ctl stop -m immediate` does: without a
// checkpoint, so that the next [Postgres.Start] recovers.
func (p *Postgres) StopImmediate(ctx context.Context) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.end(ctx, syscall.SIGQUIT)
}

// StopFast shuts the server down in order, as `pg_ctl stop -m fast` does. A
// primary waits until its standbys have received everything.
// [Postgres.Start] starts it again.
func (p *Postgres) StopFast(ctx context.Context) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.end(ctx, syscall.SIGINT)
}

// freeSegment removes the System V segment of a server that was killed. The
// server removes it itself otherwise. Only its owner may, so it is done as the
// servers' user; what would be left behind is 56 bytes.
func (p *Postgres) freeSegment(ctx context.Context) {
	content, err := os.ReadFile(filepath.Join(p.place.data(), "postmaster.pid"))
	if err != nil {
		return
	}
	lines := bytes.Split(content, []byte("\n"))
	if len(lines) < 7 {
		return
	}
	if fields := bytes.Fields(lines[6]); len(fields) == 2 {
		_ = p.place.command(ctx, "ipcrm", "-m", string(fields[1])).Run()
	}
}
