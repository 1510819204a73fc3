package worker

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"casq/internal/pause"

	"golang.org/x/sys/unix"
)

// portWait is for how long a port that is taken is tried for: a worker that was killed, and
// is started again at once, may meet the end of itself.
const portWait = 15 * time.Second

// listenAt listens on an address. One that is in use is tried again for a while, which is
// said once.
func listenAt(ctx context.Context, log *slog.Logger, addr string, wait time.Duration) (net.Listener, error) {
	for began, said := time.Now(), false; ; {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
		if !errors.Is(err, unix.EADDRINUSE) || time.Since(began) >= wait {
			return listener, err
		}
		if !said {
			log.WarnContext(ctx, "address is in use, trying again", "addr", addr, "for", wait, "err", err)
			said = true
		}
		if err := pause.For(ctx, min(wait, 200*time.Millisecond)); err != nil {
			return nil, err
		}
	}
}
