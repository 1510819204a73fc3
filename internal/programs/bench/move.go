package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/internal/worker"
)

const (
	moveCount = 150
	moveLarge = 50 << 20
)

// moves: seconds from the commit of a rename until the mirrors are in place under their new
// keys and gone from the old ones: 150 repositories of an owner, and one of 50 MB. The
// reference is mv of the same folders, one after the other, and sync. All the while it
// is looked whether a copy of each is there.
func moves(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
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
	b := &moveBench{site: s, source: filepath.Join(folder, "source"), target: filepath.Join(folder, "target")}
	if err := b.make(ctx); err != nil {
		return nil, err
	}
	stop, halt := context.WithCancel(ctx)
	defer halt()
	done := make(chan error, 1)
	go func() {
		done <- worker.Run(stop, worker.Config{HomeURL: s.URL, RepositorySource: b.source, RepositoryTarget: b.target, Logger: s.log})
	}()
	many, err := b.rename(ctx, m, "many", moveCount)
	if err != nil {
		return nil, err
	}
	large, err := b.rename(ctx, m, "large", 1)
	halt()
	return append(many, large...), errors.Join(err, <-done)
}

// moveBench has repositories below a folder for each round, and their mirrors.
type moveBench struct {
	*site
	source, target string
}

func (b *moveBench) make(ctx context.Context) error {
	if err := errors.Join(os.MkdirAll(b.source, 0o755), os.MkdirAll(b.target, 0o755)); err != nil {
		return err
	}
	one := filepath.Join(b.source, "many0", "0")
	for path, size := range map[string]int{one: 100 << 10, filepath.Join(b.source, "large0", "0"): moveLarge} {
		if err := b.repository(ctx, path, size); err != nil {
			return err
		}
	}
	for i := 1; i < moveCount; i++ {
		if out, err := exec.CommandContext(ctx, "cp", "-r", one, filepath.Join(b.source, "many0", strconv.Itoa(i))).CombinedOutput(); err != nil {
			return fmt.Errorf("cp: %w: %s", err, out)
		}
	}
	_, err := b.DB.Exec(ctx, `CREATE TABLE repositories (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner text NOT NULL, name text NOT NULL,
		path text GENERATED ALWAYS AS (owner || '/' || name) STORED UNIQUE NOT NULL)`)
	if err != nil {
		return err
	}
	_, err = b.DB.Exec(ctx, "SELECT casq.track('repositories', kind => 'repository', transfer => 'git', prefix => '', key_column => 'path', id_column => 'id')")
	return err
}

// repository makes one with a commit of so many bytes that do not shrink.
func (b *moveBench) repository(ctx context.Context, path string, size int) error {
	content := make([]byte, size)
	if _, err := rand.Read(content); err != nil {
		return err
	}
	work := path + ".work"
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(work, "file"), content, 0o644); err != nil {
		return err
	}
	script := `cd "$0" && git init --quiet --initial-branch=main && git add file && git -c user.name=a -c user.email=a@localhost commit --quiet -m one &&
		git clone --quiet --bare . "$1" && cd / && rm -rf "$0"`
	if out, err := exec.CommandContext(ctx, "sh", "-c", script, work, path).CombinedOutput(); err != nil {
		return fmt.Errorf("make a repository: %w: %s", err, out)
	}
	return nil
}

// rename moves n repositories of an owner in each round.
func (b *moveBench) rename(ctx context.Context, m *measure.Bench, owner string, n int) ([]measure.Result, error) {
	_, err := b.DB.Exec(ctx, "INSERT INTO repositories (owner, name) SELECT $1 || '0', i::text FROM generate_series(0, $2::int - 1) AS i", owner, n)
	if err != nil {
		return nil, err
	}
	if err := b.until(ctx, fmt.Sprintf("SELECT count(*) = %d FROM casq.registry WHERE synced_version = version AND resource_id LIKE '%s0/%%'", n, owner)); err != nil {
		return nil, err
	}
	round, missing := 0, int64(0)
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		took, err := b.mv(ctx, fmt.Sprintf("%s%d", owner, round))
		if err != nil {
			return err
		}
		f.Add("mv", took.Seconds())
		took, without, err := b.move(ctx, owner, round, n)
		f.Add("ours", took.Seconds())
		round, missing = round+1, missing+without
		return err
	})
	if err != nil {
		return nil, err
	}
	if missing > 0 {
		return nil, fmt.Errorf("%d times a repository had no copy at the second site", missing)
	}
	return []measure.Result{figures.Compare("move/"+owner, "ours", "mv", "s",
		fmt.Sprintf("%d repositories, from the commit of the rename until all are in place and the old ones gone; never fewer than one copy; reference: mv of each, and sync", n))}, nil
}

// mv is the reference, with a copy of the mirrors.
func (b *moveBench) mv(ctx context.Context, owner string) (time.Duration, error) {
	copied := b.target + ".mv"
	if out, err := exec.CommandContext(ctx, "sh", "-c", `cp -r "$0" "$1" && mkdir "$1.to" && sync`, filepath.Join(b.target, owner), copied).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("cp: %w: %s", err, out)
	}
	start := time.Now()
	if out, err := exec.CommandContext(ctx, "sh", "-c", `for d in "$0"/*; do mv "$d" "$0.to/"; done; sync`, copied).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("mv: %w: %s", err, out)
	}
	return time.Since(start), errors.Join(os.RemoveAll(copied), os.RemoveAll(copied+".to"))
}

// move renames the owner, and tells how often one of the repositories was found without a copy.
func (b *moveBench) move(ctx context.Context, owner string, round, n int) (took time.Duration, missing int64, err error) {
	from, to := fmt.Sprintf("%s%d", owner, round), fmt.Sprintf("%s%d", owner, round+1)
	if err := os.Rename(filepath.Join(b.source, from), filepath.Join(b.source, to)); err != nil {
		return 0, 0, err
	}
	stop, halt := context.WithCancel(ctx)
	var without atomic.Int64
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		for stop.Err() == nil {
			without.Add(b.without(from, to, n))
		}
	}()
	start := time.Now()
	_, err = b.DB.Exec(ctx, "UPDATE repositories SET owner = $2 WHERE owner = $1", from, to)
	if err == nil {
		err = b.until(ctx, fmt.Sprintf(`SELECT (SELECT count(*) FROM casq.registry WHERE synced_version = version AND deleted_at IS NULL AND resource_id LIKE '%s/%%') = %d
			AND (SELECT count(*) FROM casq.registry WHERE synced_version = version AND deleted_at IS NOT NULL AND resource_id LIKE '%s/%%') = %d`, to, n, from, n))
	}
	took = time.Since(start)
	halt()
	<-sampled
	return took, without.Load(), err
}

// without counts the repositories that have no copy. The new place is looked at again after
// the old one: between the two looks it may have moved.
func (b *moveBench) without(from, to string, n int) (count int64) {
	there := func(owner string, i int) bool {
		_, err := os.Stat(filepath.Join(b.target, owner, strconv.Itoa(i), "HEAD"))
		return err == nil
	}
	for i := range n {
		if !there(to, i) && !there(from, i) && !there(to, i) {
			count++
		}
	}
	return count
}
