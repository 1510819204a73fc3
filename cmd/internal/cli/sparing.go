package cli

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// How often the same warning or error is written while it goes on: at once, and
// then after pauses that double between these.
const (
	shortestPause = 2 * time.Second
	longestPause  = 5 * time.Minute
	// mostRepeated bounds how many are kept in mind. Beyond it all are forgotten.
	mostRepeated = 1000
)

// sparing writes a warning or an error that comes again and again less and less
// often, with how many were left out in between. The same is what has the same
// message and attributes. What has not come for longer than its pause is new.
type sparing struct {
	slog.Handler
	with string // attributes and groups of the handler
	seen *repeats
}

// repeats is what was written lately.
//
// mu guards last.
type repeats struct {
	now func() time.Time

	mu   sync.Mutex
	last map[string]*repeated
}

type repeated struct {
	written, met time.Time
	pause        time.Duration
	left         int // out, since it was written
}

func newSparing(h slog.Handler) *sparing {
	return &sparing{Handler: h, seen: &repeats{now: time.Now, last: make(map[string]*repeated)}}
}

// Handle implements [slog.Handler].
func (s *sparing) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return s.Handler.Handle(ctx, r)
	}
	var key strings.Builder
	key.WriteString(s.with + r.Level.String() + r.Message)
	r.Attrs(func(a slog.Attr) bool { key.WriteString("\x00" + a.String()); return true })
	left, write := s.seen.note(key.String())
	if !write {
		return nil
	}
	if left > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int("repeated", left))
	}
	return s.Handler.Handle(ctx, r)
}

// note tells whether a record is to be written, and how many like it were not.
func (r *repeats) note(key string) (left int, write bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	last, known := r.last[key]
	if !known || now.Sub(last.met) > 2*max(last.pause, shortestPause) {
		if len(r.last) >= mostRepeated {
			clear(r.last)
		}
		r.last[key] = &repeated{written: now, met: now}
		return 0, true
	}
	last.met = now
	if now.Sub(last.written) < last.pause {
		last.left++
		return 0, false
	}
	left, last.left = last.left, 0
	last.written, last.pause = now, min(max(2*last.pause, shortestPause), longestPause)
	return left, true
}

// WithAttrs implements [slog.Handler].
func (s *sparing) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &sparing{s.Handler.WithAttrs(attrs), s.with + slog.GroupValue(attrs...).String() + "\x00", s.seen}
}

// WithGroup implements [slog.Handler].
func (s *sparing) WithGroup(name string) slog.Handler {
	return &sparing{s.Handler.WithGroup(name), s.with + name + "\x00", s.seen}
}
