package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/internal/worker"
	"casq/transfer"
	"casq/transfer/file"

	"github.com/google/uuid"
)

const (
	wakeupKey   = "builds/1/out.bin"
	wakeupSize  = 4 << 20
	wakeupRate  = 16 << 20 // bytes per second: one copy lasts a quarter of a second
	wakeupStorm = 4 * time.Second
	wakeupPause = 10 * time.Millisecond // between updates
)

// wakeup: one resource is updated 100 times a second, far faster than it can be
// copied. How many copies are made meanwhile, and how long after the last update
// its version is in place; against the bare time of one copy.
func wakeup(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	folder, err := os.MkdirTemp("", "casq-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	w := &wakeupSite{site: s, source: filepath.Join(folder, "source"), target: filepath.Join(folder, "target")}
	if err := w.make(ctx, filepath.Join(folder, "bare")); err != nil {
		return nil, err
	}
	updates, content := 0, byte(0)
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		took, err := w.bareCopy(ctx, filepath.Join(folder, "bare"))
		if err != nil {
			return err
		}
		content++
		r, err := w.round(ctx, content)
		f.Add("bare", took.Seconds())
		f.Add("last", r.last.Seconds())
		f.Add("bare a minute", time.Minute.Seconds()/took.Seconds())
		f.Add("copies a minute", float64(r.copies)/r.storm.Minutes())
		updates += r.updates
		return err
	})
	if err != nil {
		return nil, err
	}
	note := fmt.Sprintf("%d updates of one file of %d MiB in %d times %s, at COPY_RATE %d MiB/s; ",
		updates, wakeupSize>>20, measure.Rounds, wakeupStorm, wakeupRate>>20)
	return []measure.Result{
		figures.Compare("wakeup/copies", "copies a minute", "bare a minute", "copies/min", note+"reference: bare copies, one after the other"),
		figures.Compare("wakeup/last", "last", "bare", "s", note+"from the last update's commit until its version is in place, with the copy under way before it; reference: a bare copy"),
	}, nil
}

// wakeupSite copies one file from source to target.
type wakeupSite struct {
	*site
	source, target string
	copies         atomic.Int64
}

type wakeupRound struct {
	storm   time.Duration
	last    time.Duration
	updates int
	copies  int64 // that were put in place before the last update
}

func (w *wakeupSite) make(ctx context.Context, bare string) error {
	for _, folder := range []string{filepath.Dir(filepath.Join(w.source, wakeupKey)), w.target, bare} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	if _, err := w.DB.Exec(ctx, "SELECT casq.define_kind('artifact', 'file', prefix => '')"); err != nil {
		return fmt.Errorf("define the kind: %w", err)
	}
	_, err := w.put(0)
	return err
}

// put replaces the file, as an application does: by a rename.
func (w *wakeupSite) put(content byte) ([]byte, error) {
	all, file := bytes.Repeat([]byte{content}, wakeupSize), filepath.Join(w.source, wakeupKey)
	if err := os.WriteFile(file+".new", all, 0o644); err != nil {
		return nil, err
	}
	return all, os.Rename(file+".new", file)
}

func (w *wakeupSite) bareCopy(ctx context.Context, target string) (_ time.Duration, err error) {
	source, err := file.OpenSource(w.source, slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, err
	}
	files, err := file.Open(file.Config{Source: source, Target: target, BytesPerSecond: wakeupRate})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, files.Close()) }()
	start := time.Now()
	run, err := files.Begin(ctx, transfer.Place{Key: wakeupKey, Claim: uuid.NewString()})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, run.Close()) }()
	if _, err := run.Copy(ctx, nil); err != nil {
		return 0, err
	}
	if err := run.Publish(ctx); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

// round is what a worker goes through: updates, the last of which brings new bytes.
func (w *wakeupSite) round(ctx context.Context, content byte) (r wakeupRound, err error) {
	if err := w.empty(ctx); err != nil {
		return r, err
	}
	stop, halt := context.WithCancel(ctx)
	done := make(chan error, 1)
	w.copies.Store(0)
	go func() {
		done <- worker.Run(stop, worker.Config{
			HomeURL: w.URL, ArtifactSource: w.source, ArtifactTarget: w.target, CopyRate: wakeupRate, Logger: w.log,
			Hook: func(point string) {
				if point == "publish:renamed" {
					w.copies.Add(1)
				}
			},
		})
	}()
	defer func() {
		halt()
		err = errors.Join(err, <-done)
	}()
	first, err := w.update(ctx)
	if err != nil {
		return r, err
	}
	if err := w.inPlace(ctx, first); err != nil {
		return r, err
	}
	w.copies.Store(0)
	start := time.Now()
	if r.updates, err = w.storm(ctx, start); err != nil {
		return r, err
	}
	r.copies, r.storm = w.copies.Load(), time.Since(start)
	want, err := w.put(content)
	if err != nil {
		return r, err
	}
	id, err := w.update(ctx)
	if err != nil {
		return r, err
	}
	start = time.Now()
	if err := w.inPlace(ctx, id); err != nil {
		return r, err
	}
	r.last = time.Since(start)
	got, err := os.ReadFile(filepath.Join(w.target, wakeupKey))
	if err == nil && !bytes.Equal(got, want) {
		err = errors.New("the row is synced, and other bytes are in place")
	}
	return r, err
}

func (w *wakeupSite) storm(ctx context.Context, start time.Time) (updates int, err error) {
	ticker := time.NewTicker(wakeupPause)
	defer ticker.Stop()
	for ; time.Since(start) < wakeupStorm; updates++ {
		if _, err := w.update(ctx); err != nil {
			return updates, err
		}
		select {
		case <-ctx.Done():
			return updates, ctx.Err()
		case <-ticker.C:
		}
	}
	return updates, nil
}

// update commits an event of the resource, and returns its id.
func (w *wakeupSite) update(ctx context.Context) (id int64, err error) {
	err = w.DB.QueryRow(ctx, `INSERT INTO casq.events (kind, resource_id, op, payload)
		VALUES ('artifact', $1, 'updated', '{}') RETURNING id`, wakeupKey).Scan(&id)
	if err != nil {
		return 0, fmt.Errorf("append an event: %w", err)
	}
	return id, nil
}

func (w *wakeupSite) inPlace(ctx context.Context, event int64) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return w.until(ctx, fmt.Sprintf("SELECT EXISTS (SELECT FROM casq.registry WHERE synced_version = version AND event_id = %d)", event))
}
