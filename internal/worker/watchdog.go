package worker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"casq/internal/pause"
)

// roundLimit is how long a round of a loop may take that never waits for others for
// longer than seconds.
const roundLimit = time.Minute

// pulse is when loops came round. Only those are in it whose rounds end soon whether a
// database answers or not: a watchdog that is fed by a database restarts workers while it
// is away, which mends nothing.
//
// mu guards last.
type pulse struct {
	mu   sync.Mutex
	last map[string]time.Time
}

// round notes that a loop has come round; the first call adds it.
func (p *pulse) round(loop string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.last = make(map[string]time.Time)
	}
	p.last[loop] = time.Now()
}

// end takes out a loop that has ended as it should.
func (p *pulse) end(loop string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.last, loop)
}

// stuck names the loops that have not come round for too long.
func (p *pulse) stuck(now time.Time) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	late := maps.Clone(p.last)
	maps.DeleteFunc(late, func(_ string, at time.Time) bool { return now.Sub(at) < roundLimit })
	return slices.Sorted(maps.Keys(late))
}

// tellManager tells the service manager, if there is one, that this worker answers, what
// it waits for or does, and, as often as that wants to hear it, that its loops go on. One
// that hears nothing ends the process, which then tells where each goroutine is.
func (w *worker) tellManager(ctx context.Context) {
	if w.cfg.Manager.Socket == "" {
		return
	}
	if err := w.cfg.Manager.Ready(); err != nil {
		w.log.WarnContext(ctx, "cannot tell the service manager that the worker is ready", "err", err)
		return
	}
	said := ""
	every := min(w.cfg.Watchdog/4, time.Second)
	if every <= 0 {
		every = time.Second
	}
	for {
		if line := w.state(); line != said {
			said = line
			_ = w.cfg.Manager.Status(line) // it is for people
		}
		if stuck := w.pulse.stuck(time.Now()); len(stuck) > 0 {
			w.log.ErrorContext(ctx, "loops make no progress", "loops", stuck)
		} else {
			_ = w.cfg.Manager.Alive() // the next one may come through
		}
		if pause.For(ctx, every) != nil {
			_ = w.cfg.Manager.Stopping()
			return
		}
	}
}

// state is what the worker does, in a line.
func (w *worker) state() string {
	if _, reason := w.roles.snapshot(); reason != "" {
		return reason
	}
	return "ready"
}
