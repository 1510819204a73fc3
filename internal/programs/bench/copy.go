package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/internal/worker"
)

const (
	copyCount = 10_000
	copySize  = 4 << 10
)

// copyFiles: seconds from the start of a worker with 10,000 committed events to
// as many files in place, against cp -r and sync of the same folder.
func copyFiles(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
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
	source := filepath.Join(folder, "source")
	if err := s.makeFiles(ctx, source, copyCount); err != nil {
		return nil, err
	}
	round := 0
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		round++
		start := time.Now()
		copied := filepath.Join(folder, fmt.Sprintf("cp%d", round))
		if out, err := exec.CommandContext(ctx, "sh", "-c", `cp -r "$0" "$1" && sync`, source, copied).CombinedOutput(); err != nil {
			return fmt.Errorf("cp: %w: %s", err, out)
		}
		f.Add("reference", time.Since(start).Seconds())
		took, err := s.copyRound(ctx, source, filepath.Join(folder, fmt.Sprintf("target%d", round)))
		f.Add("ours", took.Seconds())
		return err
	})
	if err != nil {
		return nil, err
	}
	return []measure.Result{figures.Compare("copy", "ours", "reference", "s",
		fmt.Sprintf("%d files of %d bytes, each hashed and flushed with its folder; reference: cp -r and sync", copyCount, copySize))}, nil
}

func (s *site) makeFiles(ctx context.Context, source string, n int) error {
	random := rand.New(rand.NewPCG(1, 2))
	var paths, sums []string
	content := make([]byte, copySize)
	for i := range n {
		for j := range content {
			content[j] = byte(random.Uint32())
		}
		path := fmt.Sprintf("builds/%d/out-%d.bin", i%100, i)
		full := filepath.Join(source, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(full, content, 0o644); err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		paths, sums = append(paths, path), append(sums, hex.EncodeToString(sum[:]))
	}
	_, err := s.DB.Exec(ctx, `CREATE TABLE bench_files AS SELECT * FROM unnest($1::text[], $2::text[]) AS f (path, sha256)`, paths, sums)
	if err != nil {
		return fmt.Errorf("list the files: %w", err)
	}
	_, err = s.DB.Exec(ctx, "SELECT casq.define_kind('artifact', 'file', prefix => '')")
	return err
}

func (s *site) copyRound(ctx context.Context, source, target string) (time.Duration, error) {
	if err := s.empty(ctx); err != nil {
		return 0, err
	}
	if err := os.MkdirAll(target, 0o755); err != nil {
		return 0, err
	}
	return s.workOff(ctx, source, target, "created")
}

// workOff appends an event of each file, and returns how long a worker took, from its
// start, until all that they ask for was in place.
func (s *site) workOff(ctx context.Context, source, target, op string) (time.Duration, error) {
	_, err := s.DB.Exec(ctx, `INSERT INTO casq.events (kind, resource_id, op, payload)
		SELECT 'artifact', path, $2, jsonb_build_object('sha256', sha256, 'size', $1::int) FROM bench_files`, copySize, op)
	if err != nil {
		return 0, fmt.Errorf("append events: %w", err)
	}
	stop, halt := context.WithCancel(ctx)
	defer halt()
	done := make(chan error, 1)
	start := time.Now()
	go func() {
		done <- worker.Run(stop, worker.Config{HomeURL: s.URL, ArtifactSource: source, ArtifactTarget: target, Logger: s.log})
	}()
	err = s.until(ctx, fmt.Sprintf("SELECT count(*) = (SELECT count(*) FROM bench_files) FROM casq.registry WHERE synced_version = version AND (deleted_at IS NOT NULL) = %t", op == "deleted"))
	took := time.Since(start)
	halt()
	return took, errors.Join(err, <-done)
}
