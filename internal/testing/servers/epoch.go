package servers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// SetEpoch makes a primary number its next transactions as one does that has been
// through 2^32 of them so often. The server is shut down in order, and started again. It
// returns [ErrNotInstalled] for an installation without pg_resetwal.
func (p *Postgres) SetEpoch(ctx context.Context, epoch int) error {
	program := p.binaries.path("pg_resetwal")
	if _, err := os.Stat(program); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set the epoch: %w: %w", ErrNotInstalled, err)
	}
	if err := p.StopFast(ctx); err != nil {
		return fmt.Errorf("set the epoch: %w", err)
	}
	out, err := p.place.command(ctx, program, fmt.Sprintf("--epoch=%d", epoch), "--pgdata="+p.place.data()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("set the epoch: %w: %s", err, out)
	}
	return p.Start(ctx)
}
