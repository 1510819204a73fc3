package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/internal/worker"
)

const (
	mirrorCount = 200
	mirrorRuns  = 8 // at once, ours and git's
)

// mirrors: seconds from the start of a worker with events of 200 repositories to as many
// mirrors, against git clone --mirror and sync; and from the events of a pass in which
// nothing has changed to its end, against git remote update.
func mirrors(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
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
	b := &mirrorBench{site: s, folder: folder}
	if err := b.make(ctx); err != nil {
		return nil, err
	}
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
		b.round++
		return errors.Join(b.byGit(ctx, f), b.byUs(ctx, f))
	})
	if err != nil {
		return nil, err
	}
	return []measure.Result{
		figures.Compare("mirror/first", "first", "clone", "s",
			fmt.Sprintf("%d repositories of 20 commits, %d at once; reference: git clone --mirror with as many at once, and sync", mirrorCount, mirrorRuns)),
		figures.Compare("mirror/unchanged", "pass", "update", "s",
			fmt.Sprintf("an event of each of %d repositories that have not changed, %d at once; reference: git remote update with as many at once", mirrorCount, mirrorRuns)),
	}, nil
}

// mirrorBench has repositories, and what mirrors them.
type mirrorBench struct {
	*site
	folder string
	round  int
}

func (b *mirrorBench) make(ctx context.Context) error {
	source := filepath.Join(b.folder, "source")
	script := `git init -q --bare --template= -b main "$0/0.git" && cd "$0/0.git" && for i in $(seq 20); do
			echo "commit refs/heads/main"; echo "committer a <a@localhost> $i +0000"; echo "data 1"; echo x
			echo "M 644 inline file$i"; echo "data 4096"; head -c 3072 /dev/urandom | base64 -w 0; echo; done | git fast-import --quiet`
	if out, err := exec.CommandContext(ctx, "sh", "-c", script, source).CombinedOutput(); err != nil {
		return fmt.Errorf("make a repository: %w: %s", err, out)
	}
	for i := 1; i < mirrorCount; i++ {
		if err := os.CopyFS(filepath.Join(source, strconv.Itoa(i)+".git"), os.DirFS(filepath.Join(source, "0.git"))); err != nil {
			return err
		}
	}
	_, err := b.DB.Exec(ctx, "SELECT casq.define_kind('repository', 'git', prefix => '')")
	return err
}

// byGit is the reference: as many processes of git at once.
func (b *mirrorBench) byGit(ctx context.Context, f *measure.Figures) error {
	target := filepath.Join(b.folder, fmt.Sprintf("cloned%d", b.round))
	if err := os.Mkdir(target, 0o755); err != nil {
		return err
	}
	for _, part := range []struct{ figure, script string }{
		{"clone", `ls "$0" | xargs -P %d -I {} git clone --quiet --mirror "file://$0/{}" "$1/{}" && sync`},
		{"update", `ls "$0" | xargs -P %d -I {} git --git-dir "$1/{}" remote update`},
	} {
		began := time.Now()
		script := fmt.Sprintf(part.script, mirrorRuns)
		if out, err := exec.CommandContext(ctx, "sh", "-c", script, filepath.Join(b.folder, "source"), target).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", part.figure, err, out)
		}
		f.Add(part.figure, time.Since(began).Seconds())
	}
	return nil
}

func (b *mirrorBench) byUs(ctx context.Context, f *measure.Figures) error {
	target := filepath.Join(b.folder, fmt.Sprintf("target%d", b.round))
	if err := errors.Join(b.empty(ctx), os.Mkdir(target, 0o755), b.events(ctx, "created")); err != nil {
		return err
	}
	stop, halt := context.WithCancel(ctx)
	defer halt()
	done := make(chan error, 1)
	began := time.Now()
	go func() {
		done <- worker.Run(stop, worker.Config{
			HomeURL: b.URL, Concurrency: mirrorRuns, RepositorySource: filepath.Join(b.folder, "source"), RepositoryTarget: target, Logger: b.log,
		})
	}()
	err := b.synced(ctx, 1)
	f.Add("first", time.Since(began).Seconds())
	if err == nil {
		began = time.Now()
		err = errors.Join(b.events(ctx, "updated"), b.synced(ctx, 2))
		f.Add("pass", time.Since(began).Seconds())
	}
	halt()
	return errors.Join(err, <-done)
}

func (b *mirrorBench) events(ctx context.Context, op string) error {
	_, err := b.DB.Exec(ctx, "INSERT INTO casq.events (kind, resource_id, op) SELECT 'repository', i || '.git', $1 FROM generate_series(0, $2::int - 1) AS i", op, mirrorCount)
	if err != nil {
		return fmt.Errorf("append events: %w", err)
	}
	return nil
}

// synced waits until what the n-th events of all repositories have asked for is in place.
func (b *mirrorBench) synced(ctx context.Context, n int) error {
	return b.until(ctx, fmt.Sprintf(`SELECT count(*) = %[1]d FROM casq.registry AS r WHERE synced_version = version
		AND event_id > (SELECT min(id) - 1 + %[1]d * %[2]d FROM casq.events)`, mirrorCount, n-1))
}
