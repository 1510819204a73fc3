package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/internal/worker"
)

const memoryCount = 100_000

// memory: the peak of a worker's resident set over 100,000 events: one
// commit of half of them, so that they are paged, and the rest in small ones.
func memory(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var peaks []float64
	for _, n := range []int{memoryCount / 10, memoryCount} {
		m.Say("%d events", n)
		peak, err := s.peak(ctx, n)
		if err != nil {
			return nil, err
		}
		peaks = append(peaks, peak)
	}
	return []measure.Result{{
		Bench: "memory", Ours: peaks[1], Reference: peaks[0], Unit: "MiB",
		Note: fmt.Sprintf("peak RSS of a worker that transposes and works off %d events, half of them one commit; reference: the same with a tenth", memoryCount),
	}}, nil
}

func (s *site) peak(ctx context.Context, n int) (float64, error) {
	if err := s.empty(ctx); err != nil {
		return 0, err
	}
	_, err := s.DB.Exec(ctx, `INSERT INTO casq.events (kind, resource_id, op, payload)
		SELECT 'resource', 'big/' || i, 'created', jsonb_build_object('id', i) FROM generate_series(1, $1::int) AS i`, n/2)
	if err != nil {
		return 0, err
	}
	if err := s.append(ctx, n/2); err != nil {
		return 0, err
	}
	child, err := s.startWorker(ctx, 0)
	if err != nil {
		return 0, err
	}
	err = s.until(ctx, fmt.Sprintf(`SELECT NOT EXISTS (SELECT FROM river.river_job WHERE state IN ('available', 'running', 'retryable'))
		AND (SELECT count(*) FROM (SELECT FROM casq.registry LIMIT %d) AS r) = %d`, n, n))
	peak, peakErr := resident(child.Process.Pid, "VmHWM")
	return peak, errors.Join(err, peakErr, stopWorker(child))
}

// resident returns what a process's status says of its memory, in MiB: VmRSS, or VmHWM, the
// high-water mark of that.
func resident(pid int, what string) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(what + `:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		return 0, fmt.Errorf("no %s in the process's status", what)
	}
	kib, err := strconv.ParseFloat(string(found[1]), 64)
	return kib / 1024, err
}

// beWorker is a worker in a process of its own, which keeps events and jobs for so long; 0 for
// a worker's defaults. It needs a target to have the roles, and copies no bytes.
func beWorker(ctx context.Context, url string, keep time.Duration) (err error) {
	folder, err := os.MkdirTemp("", "casq-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	source, target := filepath.Join(folder, "source"), filepath.Join(folder, "target")
	if err := errors.Join(os.Mkdir(source, 0o755), os.Mkdir(target, 0o755)); err != nil {
		return err
	}
	return worker.Run(ctx, worker.Config{
		HomeURL: url, ArtifactSource: source, ArtifactTarget: target, Concurrency: 1000, EventRetention: keep, JobRetention: keep,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
}
