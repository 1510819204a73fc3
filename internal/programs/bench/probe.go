package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/cgi" //nolint:gosec // G504 is of Go before 1.6.3
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/transfer"
	"casq/transfer/git"

	"github.com/google/uuid"
)

const (
	probedRepositories = 1000
	probedBySample     = 20 // in a round over HTTP, and by the reference
)

// probeRefs: the CPU that it takes to find that none of 1,000 repositories differs, in a
// folder and over HTTP; against git ls-remote of each.
func probeRefs(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	folder, err := os.MkdirTemp("", "casq-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	source, target := filepath.Join(folder, "source"), filepath.Join(folder, "target")
	if err := makeProbed(ctx, source, target); err != nil {
		return nil, err
	}
	execPath, err := exec.CommandContext(ctx, "git", "--exec-path").Output()
	if err != nil {
		return nil, err
	}
	server := httptest.NewServer(&cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(execPath)), "git-http-backend"), Stderr: io.Discard,
		Env: []string{"GIT_PROJECT_ROOT=" + source, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*"},
	})
	defer server.Close()
	var results []measure.Result
	for _, from := range []struct {
		name, url, prefix string
		n                 int
	}{{"local", source, source + "/", probedRepositories}, {"http", server.URL + "/{key}", server.URL + "/", probedBySample}} {
		figures, err := m.Rounds(ctx, func(f *measure.Figures) error {
			listed, err := listedCPU(ctx, from.prefix)
			if err != nil {
				return err
			}
			probed, err := probedCPU(ctx, from.url, target, from.n)
			f.Add("listed", listed)
			f.Add("probed", probed)
			return err
		})
		if err != nil {
			return nil, err
		}
		results = append(results, figures.Compare("probe/"+from.name, "probed", "listed", "s",
			fmt.Sprintf("CPU of 1000 repositories of which none differs, that of processes and of the server included (%d were probed); reference: git ls-remote of each, of %d", from.n, probedBySample)))
	}
	return results, nil
}

// listedCPU lists the refs of some repositories, and returns the seconds of CPU that 1,000 take.
func listedCPU(ctx context.Context, prefix string) (float64, error) {
	before := cpuUsed()
	for i := range probedBySample {
		if out, err := exec.CommandContext(ctx, "git", "ls-remote", "--quiet", fmt.Sprintf("%s%d.git", prefix, i)).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("list refs: %w: %s", err, out)
		}
	}
	return (cpuUsed() - before).Seconds() * probedRepositories / probedBySample, nil
}

// probedCPU probes n repositories, of which none differs, and returns the seconds of CPU
// that 1,000 take.
func probedCPU(ctx context.Context, url, target string, n int) (_ float64, err error) {
	r, err := git.Open(ctx, git.Config{SourceURL: url, TargetDir: target, AllowedProtocols: []string{"file", "http"}})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	run, err := r.Begin(ctx, transfer.Place{Key: "0.git", Claim: uuid.NewString()})
	if err != nil {
		return 0, err
	}
	copied, err := run.Copy(ctx, nil)
	if err := errors.Join(err, run.Close()); err != nil {
		return 0, err
	}
	before := cpuUsed()
	for i := range n {
		differs, err := r.Probe(ctx, transfer.Copied{Place: transfer.Place{Key: fmt.Sprintf("%d.git", i)}, Checksum: copied.Checksum})
		if err != nil || differs {
			return 0, fmt.Errorf("repository %d differs: %t: %w", i, differs, err)
		}
	}
	return (cpuUsed() - before).Seconds() * probedRepositories / float64(n), nil
}

// makeProbed makes repositories that are all alike, with fifty branches each.
func makeProbed(ctx context.Context, source, target string) error {
	first := filepath.Join(source, "0.git")
	if err := errors.Join(os.MkdirAll(source, 0o755), os.MkdirAll(target, 0o755)); err != nil {
		return err
	}
	script := `git init -q --bare --template= -b main "$1" && cd "$1" && c=$(git -c user.name=a -c user.email=a@b commit-tree -m x "$(git mktree </dev/null)") &&
		for i in main $(seq 49); do echo "create refs/heads/$i $c"; done | git update-ref --stdin`
	if out, err := exec.CommandContext(ctx, "sh", "-c", script, "sh", first).CombinedOutput(); err != nil {
		return fmt.Errorf("make a repository: %w: %s", err, out)
	}
	for i := 1; i < probedRepositories; i++ {
		if err := os.CopyFS(filepath.Join(source, fmt.Sprintf("%d.git", i)), os.DirFS(first)); err != nil {
			return err
		}
	}
	return nil
}

// cpuUsed is what this process, and those that it has waited for, have used.
func cpuUsed() (sum time.Duration) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
}
