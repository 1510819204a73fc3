package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/internal/worker"
	"casq/migrations"

	"github.com/jackc/pgx/v5"
)

// How many pushes a round has.
const (
	pushesByEvent = 20
	pushesByProbe = 5
)

// pushes: milliseconds from the end of a git push at the first site until its commit is the
// branch's at the second, which follows the log of the first: told by an event, and found by
// a probe each second. The reference is the git fetch that a hook would make at once.
func pushes(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	b := &pushBench{site: s}
	if b.folder, err = os.MkdirTemp("", "casq-bench-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.folder)) }()
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	stop, halt := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer halt()
	ended := make(chan error, 2)
	for _, cfg := range []worker.Config{
		{HomeURL: s.URL, Logger: s.log},
		{HomeURL: b.second, SourceURL: s.URL, RepositorySource: b.at("source"), RepositoryTarget: b.at("target"), Logger: s.log},
	} {
		group.Go(func() { ended <- worker.Run(stop, cfg) })
	}
	results, err := b.measure(ctx, m)
	halt()
	return results, errors.Join(err, <-ended, <-ended)
}

// pushBench has a repository, a clone to push from, and two mirrors: casq's, and the reference's.
type pushBench struct {
	*site
	folder string
	second string // the second site's database
	n      int    // pushes so far
}

func (b *pushBench) at(name string) string { return filepath.Join(b.folder, name) }

func (b *pushBench) prepare(ctx context.Context) error {
	if err := errors.Join(os.Mkdir(b.at("source"), 0o755), os.Mkdir(b.at("target"), 0o755)); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--bare", "--initial-branch=main", b.at("source/r.git")},
		{"clone", "--quiet", "--mirror", b.at("source/r.git"), b.at("reference.git")},
		{"init", "--quiet", "--initial-branch=main", b.at("clone")},
	} {
		if _, err := b.git(ctx, args...); err != nil {
			return err
		}
	}
	if _, err := b.DB.Exec(ctx, "CREATE DATABASE second"); err != nil {
		return err
	}
	b.second = b.Primary.URL("second")
	if err := migrations.Up(ctx, b.second, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	_, err := b.DB.Exec(ctx, "SELECT casq.define_kind('repository', 'git', prefix => ''), casq.append_event('repository', 'r.git', 'created')")
	return err
}

func (b *pushBench) measure(ctx context.Context, m *measure.Bench) ([]measure.Result, error) {
	commit, err := b.push(ctx)
	if err == nil {
		err = errors.Join(b.tell(ctx), b.arrived(ctx, commit)) // both workers have begun
	}
	if err != nil {
		return nil, err
	}
	byEvent, err := m.Rounds(ctx, func(f *measure.Figures) error {
		return b.round(ctx, f, pushesByEvent, func() error { return b.tell(ctx) })
	})
	if err != nil {
		return nil, err
	}
	second, err := pgx.Connect(ctx, b.second)
	if err != nil {
		return nil, err
	}
	_, err = second.Exec(ctx, "UPDATE casq.kinds SET probe = '1 s' WHERE kind = 'repository'")
	if err := errors.Join(err, second.Close(ctx)); err != nil {
		return nil, err
	}
	byProbe, err := m.Rounds(ctx, func(f *measure.Figures) error {
		return b.round(ctx, f, pushesByProbe, func() error { return nil })
	})
	if err != nil {
		return nil, err
	}
	var results []measure.Result
	for _, p := range []int{50, 99} {
		results = append(results,
			byEvent.CompareAt(p, fmt.Sprintf("push/event/p%d", p), "ours", "reference", "ms", "end of a git push to its commit at the second site, told by an event; reference: git fetch of a mirror"),
			byProbe.CompareAt(p, fmt.Sprintf("push/probe/p%d", p), "ours", "reference", "ms", "likewise, found by a probe each second"))
	}
	return results, nil
}

// tell appends an event of the repository.
func (b *pushBench) tell(ctx context.Context) error {
	_, err := b.DB.Exec(ctx, "SELECT casq.append_event('repository', 'r.git', 'updated')")
	return err
}

// round pushes n times. Each push is told of, and fetched by the reference when it has come.
func (b *pushBench) round(ctx context.Context, f *measure.Figures, n int, tell func() error) error {
	for range n {
		commit, err := b.push(ctx)
		if err != nil {
			return err
		}
		began := time.Now()
		if err := tell(); err != nil {
			return err
		}
		if err := b.arrived(ctx, commit); err != nil {
			return err
		}
		f.Add("ours", measure.Milliseconds(began))
		began = time.Now()
		if _, err := b.git(ctx, "-C", b.at("reference.git"), "fetch", "--quiet"); err != nil {
			return err
		}
		f.Add("reference", measure.Milliseconds(began))
	}
	return nil
}

func (b *pushBench) push(ctx context.Context) (commit string, err error) {
	b.n++
	if err := os.WriteFile(b.at("clone/file"), fmt.Appendf(nil, "push %d\n", b.n), 0o600); err != nil {
		return "", err
	}
	for _, args := range [][]string{
		{"add", "file"},
		{"-c", "user.name=bench", "-c", "user.email=bench@example.com", "commit", "--quiet", "--message", "bench"},
		{"push", "--quiet", b.at("source/r.git"), "main"},
	} {
		if _, err := b.git(ctx, append([]string{"-C", b.at("clone")}, args...)...); err != nil {
			return "", err
		}
	}
	return b.git(ctx, "-C", b.at("clone"), "rev-parse", "HEAD")
}

// arrived waits until the second site has a commit as its branch.
func (b *pushBench) arrived(ctx context.Context, commit string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		for _, name := range []string{"target/r.git/refs/heads/main", "target/r.git/packed-refs"} {
			refs, err := os.ReadFile(b.at(name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if bytes.Contains(refs, []byte(commit)) {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("push %d has not come to the second site: %w", b.n, ctx.Err())
		case <-time.After(200 * time.Microsecond):
		}
	}
}

func (b *pushBench) git(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
