package lease

import (
	"context"
	"log/slog"
	"time"
)

// denialEvery is how often a denial is told that is like the last one: it is what
// a spare is there for. Each 10 s it was half of a healthy spare's log.
const denialEvery = 10 * time.Minute

// Denials logs that a lease cannot be obtained: the first time for each holder
// and then at most every 10 minutes; in between for those who debug. The zero value is
// ready; it is for one goroutine.
type Denials struct {
	holder string
	at     time.Time
}

// Tell logs a denial.
func (d *Denials) Tell(ctx context.Context, logger *slog.Logger, holder string, expiresIn time.Duration) {
	level := slog.LevelDebug
	if now := time.Now(); holder != d.holder || now.Sub(d.at) >= denialEvery {
		level = slog.LevelInfo
		d.holder, d.at = holder, now
	}
	logger.Log(ctx, level, "cannot obtain lease, another process holds it", "holder", holder, "expires_in", expiresIn)
}
