package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/internal/testing/servers"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

//go:embed field/*.js
var fieldFiles embed.FS

const (
	fieldCount      = 20_000
	fieldSingle     = 2_000  // jobs of which each is fetched and completed by itself
	fieldBatched    = 60_000 // whose programs take longer to start than 20,000 jobs
	graphilePackage = "graphile-worker@0.17.3"
	// As graphile-worker's own benchmark has it.
	graphileProcesses = 4
)

// fieldBench has other queues beside ours.
type fieldBench struct {
	*site
	folder string         // of programs
	asynq  *servers.Redis // saves each second, as a queue in Redis is run
}

// field: jobs a second of claim, no-op copy, commit and completion; against the no-op jobs of
// graphile-worker, which batches and does not, on the same server, of asynq in Redis, and of
// River. The programs come from their registries.
func field(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx)
	if err != nil {
		return nil, err
	}
	b := &fieldBench{site: s}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := s.addRivers(ctx); err != nil {
		return nil, err
	}
	m.Say("programs are fetched")
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	figures, err := m.Rounds(ctx, func(f *measure.Figures) error { return b.round(ctx, f) })
	if err != nil {
		return nil, err
	}
	note := fmt.Sprintf("%d jobs without bytes, %d workers; reference: ", fieldCount, syncWorkers)
	return []measure.Result{
		figures.Compare("field/graphile", "ours", "graphile", "jobs/s", note+fmt.Sprintf("%d of %s without batches, %d processes of 24 jobs at once", fieldSingle, graphilePackage, graphileProcesses)),
		figures.Compare("field/graphile-batched", "ours", "graphile batched", "jobs/s", note+fmt.Sprintf("%d of %s with its local queue and batches, %d processes of 24 jobs at once", fieldBatched, graphilePackage, graphileProcesses)),
		figures.Compare("field/asynq", "ours", "asynq", "jobs/s", note+"asynq with as many workers; its Redis saves once a second"),
		figures.Compare("field/river", "ours", "river", "jobs/s", note+"River's no-op jobs, in the tables that its migrations make"),
	}, nil
}

func (b *fieldBench) prepare(ctx context.Context) (err error) {
	if b.folder, err = os.MkdirTemp("", "casq-bench-"); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(b.folder, "tasks"), 0o755); err != nil {
		return err
	}
	for from, to := range map[string]string{"graphile.config.js": "graphile.config.js", "nothing.js": "tasks/nothing.js"} {
		content, err := fieldFiles.ReadFile("field/" + from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(b.folder, to), content, 0o644); err != nil {
			return err
		}
	}
	if err := errors.Join(
		b.output(exec.CommandContext(ctx, "npm", "install", "--loglevel=error", "--no-audit", "--no-fund", "--prefix", b.folder, graphilePackage)),
		b.output(exec.CommandContext(ctx, "go", "build", "-C", "internal/programs/bench/field/asynq", "-o", filepath.Join(b.folder, "asynq"), ".")),
		b.Primary.Exec(ctx, "CREATE DATABASE graphile"),
	); err != nil {
		return err
	}
	b.asynq, err = servers.StartRedis(ctx, servers.RedisOptions{TCP: true, Settings: map[string]string{"appendonly": "yes", "appendfsync": "everysec"}})
	return errors.Join(err, b.output(b.graphile(ctx, false, "--schema-only")))
}

func (b *fieldBench) close() error {
	var err error
	if b.asynq != nil {
		err = b.asynq.Stop(context.Background())
	}
	return errors.Join(err, b.site.close(), os.RemoveAll(b.folder))
}

// output runs a program that says something only when it fails.
func (b *fieldBench) output(program *exec.Cmd) error {
	if out, err := program.CombinedOutput(); err != nil {
		return fmt.Errorf("run %s: %w: %s", filepath.Base(program.Path), err, bytes.TrimSpace(out))
	}
	return nil
}

func (b *fieldBench) round(ctx context.Context, f *measure.Figures) error {
	for _, side := range []struct {
		name string
		jobs int
		work func(jobs int) (time.Duration, error)
	}{
		{"river", fieldCount, func(n int) (time.Duration, error) { return b.workBare(ctx, stockSchema, n) }},
		{"ours", fieldCount, func(n int) (time.Duration, error) { return b.workSync(ctx, n, nil) }},
		{"graphile", fieldSingle, func(n int) (time.Duration, error) { return b.workGraphile(ctx, false, n) }},
		{"graphile batched", fieldBatched, func(n int) (time.Duration, error) { return b.workGraphile(ctx, true, n) }},
	} {
		took, err := side.work(side.jobs)
		if err != nil {
			return fmt.Errorf("%s: %w", side.name, err)
		}
		f.Add(side.name, float64(side.jobs)/took.Seconds())
	}
	rate, err := b.workAsynq(ctx)
	f.Add("asynq", rate)
	return err
}

// graphile is graphile-worker's own program.
func (b *fieldBench) graphile(ctx context.Context, batched bool, args ...string) *exec.Cmd {
	program := exec.CommandContext(ctx, "node", append([]string{"node_modules/graphile-worker/dist/cli.js"}, args...)...)
	program.Dir = b.folder
	program.Env = append(program.Environ(), "DATABASE_URL="+b.Primary.URL("graphile"), "NO_LOG_SUCCESS=1")
	if batched {
		program.Env = append(program.Env, "BENCH_BATCHED=1")
	}
	return program
}

// workGraphile has its processes work on what is queued until nothing is left, and takes off
// what they take when there is nothing.
func (b *fieldBench) workGraphile(ctx context.Context, batched bool, n int) (time.Duration, error) {
	var took [2]time.Duration
	for i, jobs := range []int{0, n} {
		_, err := b.DB.Exec(ctx, "CHECKPOINT")
		if err == nil {
			err = b.queueGraphile(ctx, jobs)
		}
		if err != nil {
			return 0, err
		}
		start := time.Now()
		var group errgroup.Group
		for range graphileProcesses {
			group.Go(func() error { return b.output(b.graphile(ctx, batched, "--once")) })
		}
		if err := group.Wait(); err != nil {
			return 0, err
		}
		took[i] = time.Since(start)
	}
	if took[1] <= took[0] {
		return 0, fmt.Errorf("work on %d jobs: it took %s, and on none %s: the machine is too busy", n, took[1], took[0])
	}
	return took[1] - took[0], nil
}

func (b *fieldBench) queueGraphile(ctx context.Context, jobs int) error {
	conn, err := pgx.Connect(ctx, b.Primary.URL("graphile"))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	_, err = conn.Exec(ctx, `SELECT count(graphile_worker.add_job('nothing', json_build_object('kind', 'resource', 'resource_id', 'resources/' || i, 'version', i)))
		FROM generate_series(1, $1::int) AS i`, jobs)
	return err
}

func (b *fieldBench) workAsynq(ctx context.Context) (float64, error) {
	program := exec.CommandContext(ctx, filepath.Join(b.folder, "asynq"), "-redis", b.asynq.URL(), "-jobs", strconv.Itoa(fieldCount), "-workers", strconv.Itoa(syncWorkers))
	program.Stderr = os.Stderr
	out, err := program.Output()
	if err != nil {
		return 0, fmt.Errorf("run asynq: %w", err)
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}
