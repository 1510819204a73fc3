package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	kindArtifact   = "artifact"
	kindRepository = "repository"
	// watchEvery is how often progress is polled, quietEvery once nothing
	// is written any more. A poll of 10,000 rows takes 15 ms; one that takes
	// long is followed by a pause of pollShare times as much, for it takes the
	// time from those who work.
	watchEvery = 250 * time.Millisecond
	quietEvery = 50 * time.Millisecond
	pollShare  = 5
)

// state is what the second site says of itself. It decides when to compare,
// never what is equal.
type state struct {
	tick      int64 // -1: none, or inside a step
	position  string
	resources map[string]map[string]int // by kind and status
	jobs      int
}

func readState(ctx context.Context, db *pgxpool.Pool) (state, error) {
	var s state
	err := db.QueryRow(ctx, demoSQL.State).Scan(&s.tick, &s.position, &s.resources, &s.jobs)
	if err != nil {
		return s, fmt.Errorf("ask the second site for its state: %w", err)
	}
	return s, nil
}

// done returns how many resources of a kind are in place, or gone as they should
// be, of how many that are known.
func (s state) done(kind string) (done, known int) {
	for status, n := range s.resources[kind] {
		known += n
		if status == "synced" || status == "removed" {
			done += n
		}
	}
	return done, known
}

// idle tells whether nothing is left to do for what was read up to tick.
func (s state) idle(tick int64) bool {
	for kind := range s.resources {
		if done, known := s.done(kind); done < known {
			return false
		}
	}
	return s.tick >= tick && s.jobs == 0
}

// watcher follows the second site's progress.
//
// mu guards the rest.
type watcher struct {
	demo *demo

	mu     sync.Mutex
	last   state
	seen   string    // last and staged, as they were when they last changed
	moved  time.Time // when that was
	needed int64     // the tick to come to; -1 while the primary is at work
}

func newWatcher(d *demo) *watcher { return &watcher{demo: d, needed: -1} }

// run draws the progress and returns nil when nothing is left to do. It returns
// an error when the second site has stood still for too long with nobody at
// work at the primary.
func (w *watcher) run(ctx context.Context) error {
	for {
		began := time.Now()
		if err := w.poll(ctx); err != nil && ctx.Err() == nil {
			w.demo.cfg.Logger.WarnContext(ctx, "cannot read the second site's state", "err", err)
		}
		quiescent, stalled, pause := w.progress()
		if quiescent {
			return nil
		}
		if stalled {
			return w.explain(ctx)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(max(pause, pollShare*time.Since(began))):
		}
	}
}

// progress says what the last poll means, and when the next one is due.
func (w *watcher) progress() (quiescent, stalled bool, pause time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.needed < 0 {
		return false, false, watchEvery
	}
	return w.last.idle(w.needed), time.Since(w.moved) > w.demo.cfg.stall, quietEvery
}

// quiesce lets run end: the second site has to read all that a tick after the
// last write shows, and every resource has to be in place or gone.
func (w *watcher) quiesce(ctx context.Context, p *pgxpool.Pool) error {
	needed, err := lastTick(ctx, p)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.needed, w.moved = needed, time.Now()
	return nil
}

// poll reads the state and draws it.
func (w *watcher) poll(ctx context.Context) error {
	s, err := readState(ctx, w.demo.second.DB)
	if err != nil {
		return err
	}
	w.note(s, w.demo.staged())
	var bars []bar
	for _, kind := range []string{kindArtifact, kindRepository} {
		done, known := s.done(kind)
		bars = append(bars, bar{kind, done, max(known, w.expected(kind))})
	}
	w.demo.out.progress(bars)
	return nil
}

// note remembers the state. A large resource that is being copied moves, too.
func (w *watcher) note(s state, staged int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = s
	if seen := fmt.Sprint(s, staged); seen != w.seen {
		w.seen, w.moved = seen, time.Now()
	}
}

// staged returns the bytes in the second site's staging. It changes while it is
// read; any number will do.
func (d *demo) staged() (bytes int64) {
	for _, target := range []string{d.places.secondFiles, d.places.secondRepositories} {
		bytes += bytesBelow(filepath.Join(target, staging))
	}
	return bytes
}

// bytesBelow adds up the files below a folder, as far as they can be seen.
func bytesBelow(dir string) (bytes int64) {
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			if info, infoErr := entry.Info(); infoErr == nil {
				bytes += info.Size()
			}
		}
		return nil
	})
	return bytes
}

// expected is how many resources there are to be seen.
func (w *watcher) expected(kind string) int {
	if kind == kindRepository {
		return 0
	}
	return max(w.demo.catalog.known(), len(w.demo.scan.files))
}

// caughtUp tells whether nine of ten resources that were loaded are in place.
func (w *watcher) caughtUp() bool {
	w.mu.Lock()
	done, _ := w.last.done(kindArtifact)
	w.mu.Unlock()
	return done >= w.demo.catalog.known()/10*9
}

// lastTick forces a tick and returns the first one that shows as much.
func lastTick(ctx context.Context, p *pgxpool.Pool) (int64, error) {
	ticker := time.NewTicker(quietEvery)
	defer ticker.Stop()
	for {
		forced, err := eventlog.Tick(ctx, p, true)
		if err != nil {
			return 0, err
		}
		if forced > 0 {
			var needed int64
			if err := p.QueryRow(ctx, demoSQL.Needed, forced).Scan(&needed); err != nil {
				return 0, fmt.Errorf("find the tick with the last event: %w", err)
			}
			return needed, nil
		}
		select { // the primary's worker is taking one
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// explain says what the second site waits for.
func (w *watcher) explain(ctx context.Context) error {
	const shown = 10
	w.mu.Lock()
	last, needed := w.last, w.needed
	w.mu.Unlock()
	text := fmt.Sprintf("the second site stood still for %s: its cursor is at tick %s, %d is needed; resources: %v; jobs: %d",
		w.demo.cfg.stall, last.position, needed, last.resources, last.jobs)
	rows, err := w.demo.second.DB.Query(ctx, demoSQL.Unfinished, shown)
	if err == nil {
		var why []string
		why, err = pgx.CollectRows(rows, pgx.RowTo[string])
		text = strings.Join(append([]string{text}, why...), "\n  ")
	}
	if err != nil {
		return fmt.Errorf("%s: ask why: %w", text, err)
	}
	return fmt.Errorf("%s\nthe log of its worker ends with:\n%s", text, w.demo.followed.tail())
}
