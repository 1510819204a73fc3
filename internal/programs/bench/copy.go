package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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

const largeSize = 1 << 30

// copyLarge: seconds from the start of a worker with the event of one file of 1 GiB, which it
// hashes, until that is in place; against cp, sync, and its SHA-256 by the same code.
func copyLarge(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
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
	source, target := filepath.Join(folder, "source"), filepath.Join(folder, "target")
	sum, err := makeLarge(source)
	if err != nil {
		return nil, err
	}
	if _, err := s.DB.Exec(ctx, "SELECT casq.define_kind('artifact', 'file', prefix => '')"); err != nil {
		return nil, err
	}
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		began := time.Now()
		copied := filepath.Join(folder, "cp")
		if out, err := exec.CommandContext(ctx, "sh", "-c", `cp "$0" "$1" && sync`, filepath.Join(source, "large"), copied).CombinedOutput(); err != nil {
			return fmt.Errorf("cp: %w: %s", err, out)
		}
		if got, err := sumOf(copied); err != nil || got != sum {
			return fmt.Errorf("the copy has the sum %s: %w", got, err)
		}
		f.Add("reference", time.Since(began).Seconds())
		took, err := s.largeRound(ctx, source, target, sum)
		f.Add("ours", took.Seconds())
		return errors.Join(err, os.Remove(copied), os.RemoveAll(target), exec.CommandContext(ctx, "sync").Run())
	})
	if err != nil {
		return nil, err
	}
	return []measure.Result{figures.Compare("large", "ours", "reference", "s",
		"one file of 1 GiB, hashed and flushed; reference: cp, sync, and then its SHA-256 by the same code")}, nil
}

func makeLarge(source string) (sum string, err error) {
	if err := os.MkdirAll(source, 0o755); err != nil {
		return "", err
	}
	name := filepath.Join(source, "large")
	file, err := os.Create(name)
	if err != nil {
		return "", err
	}
	_, err = io.CopyN(file, rand.NewChaCha8([32]byte{1}), largeSize)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return "", err
	}
	return sumOf(name)
}

func sumOf(name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	_, err = io.CopyBuffer(hash, file, make([]byte, 256<<10))
	return hex.EncodeToString(hash.Sum(nil)), err
}

func (s *site) largeRound(ctx context.Context, source, target, sum string) (time.Duration, error) {
	if err := errors.Join(s.empty(ctx), os.MkdirAll(target, 0o755)); err != nil {
		return 0, err
	}
	_, err := s.DB.Exec(ctx, `INSERT INTO casq.events (kind, resource_id, op, payload)
		VALUES ('artifact', 'large', 'created', jsonb_build_object('sha256', $1::text, 'size', $2::bigint))`, sum, int64(largeSize))
	if err != nil {
		return 0, fmt.Errorf("append an event: %w", err)
	}
	stop, halt := context.WithCancel(ctx)
	defer halt()
	done := make(chan error, 1)
	began := time.Now()
	go func() {
		done <- worker.Run(stop, worker.Config{HomeURL: s.URL, ArtifactSource: source, ArtifactTarget: target, Logger: s.log})
	}()
	err = s.until(ctx, "SELECT count(*) = 1 FROM casq.registry WHERE synced_version = version")
	took := time.Since(began)
	halt()
	return took, errors.Join(err, <-done)
}
