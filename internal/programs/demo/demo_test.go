package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"casq/internal/testing/long"
)

func lastLineOf(text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	return lines[len(lines)-1]
}

func wantAll(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("not there: %s", want)
		}
	}
}

func TestDemoEndsWithTwoEqualSites(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	for _, name := range []string{
		"sp ace/q'uo\"te", "ünï/çödé", "-rf", "$HOME `ls` {key} %s", "casq-demo-00001", "casq-demo/x",
		// Skipped:
		"bad\xff", "new\nline", ".casq/x", "builds/x", strings.Repeat(strings.Repeat("d", 200)+"/", 5) + "f" + strings.Repeat("f", 30),
		"vanishes", "becomes a pipe", "becomes a link",
	} {
		b.write(name, "content of "+name)
	}
	must(t, os.Symlink("top", filepath.Join(b.source, "link")))
	must(t, syscall.Mkfifo(filepath.Join(b.source, "pipe"), 0o644))
	b.repository(filepath.Join(b.source, "project"))
	b.repository(filepath.Join(b.source, "project", "inner"))
	must(t, os.MkdirAll(filepath.Join(b.source, "bare.git"), 0o755))
	b.git(b.source, "init", "--quiet", "--bare", "bare.git")
	must(t, os.MkdirAll(filepath.Join(b.source, "broken", ".git", "objects"), 0o755))
	must(t, os.MkdirAll(filepath.Join(b.source, "broken", ".git", "refs"), 0o755))
	b.write("broken/.git/HEAD", "garbage")
	b.at(pointScanned, func(*demo) {
		must(t, os.Remove(filepath.Join(b.source, "vanishes")))
		must(t, os.Remove(filepath.Join(b.source, "becomes a pipe")))
		must(t, syscall.Mkfifo(filepath.Join(b.source, "becomes a pipe"), 0o644))
		must(t, os.Remove(filepath.Join(b.source, "becomes a link")))
		must(t, os.Symlink("top", filepath.Join(b.source, "becomes a link")))
	})

	out, err := b.run(t.Context())

	must(t, err)
	if last := lastLineOf(out); last != "demo: OK" {
		t.Errorf("the last line is %q", last)
	}
	wantAll(t, out,
		`1 (name is not UTF-8): "bad\xff"`, `1 (name has a control character): "new\nline"`, `.casq/x`,
		`1 (path is longer than 1024 bytes)`, `1 (link, not followed): "link"`, `1 (neither file nor folder): "pipe"`,
		`1 (vanished while it was read): "vanishes"`, `2 (became something else while it was read): "becomes a link", "becomes a pipe"`,
		`(repository that git cannot copy: `, `"broken/.git"`,
		" 5 repositories with ", "superseded", "counted     each of ",
		"built       picked up ", "which is at the second site and in the counter of project ",
		`1 (has a name that is kept for what builds leave): "builds/x"`)
	if regexp.MustCompile(`superseded +unknown`).MatchString(out) {
		t.Error("the worker did not say how many jobs were superseded")
	}
}

func TestDifferencesAreFoundAndNamed(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	var planted []string
	b.at(pointQuiescent, func(d *demo) {
		second, repositories := d.places.secondFiles, d.places.secondRepositories
		// What the changes left alone is not known, so resources of our own are
		// taken: those that the demo has at the end.
		live := d.catalog.live
		missing, other := live[0].path, live[1].path
		must(t, os.Remove(filepath.Join(second, kindArtifact, missing)))
		must(t, os.WriteFile(filepath.Join(second, kindArtifact, other), append(make([]byte, live[1].size), '!'), 0o600))
		must(t, os.WriteFile(filepath.Join(second, "more"), nil, 0o600))
		must(t, os.Symlink("more", filepath.Join(second, "linked")))
		must(t, os.MkdirAll(filepath.Join(second, "left", "over"), 0o700))
		must(t, os.MkdirAll(filepath.Join(second, staging, "half"), 0o700))
		must(t, os.WriteFile(filepath.Join(d.places.primaryFiles, "rowless"), nil, 0o600))
		b.git(filepath.Join(repositories, "own.git"), "update-ref", "refs/heads/side", "HEAD")
		b.git(filepath.Join(repositories, "own.git"), "update-ref", "refs/heads/added", "HEAD")
		b.git(filepath.Join(repositories, "own.git"), "symbolic-ref", "HEAD", "refs/heads/side")
		b.git(repositories, "init", "--quiet", "--bare", "stranger.git")
		must(t, os.RemoveAll(filepath.Join(repositories, "casq-demo.git")))
		b.write("top", "written to")
		b.write("new", "appeared")
		must(t, os.Remove(filepath.Join(b.source, "empty")))
		b.git(b.config.Repository, "tag", "meanwhile")
		_, err := d.primary.DB.Exec(t.Context(), "UPDATE casq.counters SET items = items + 1 WHERE scope_id = (SELECT min(scope_id) FROM casq.counters)")
		must(t, err)
		left, err := filepath.Glob(filepath.Join(second, kindBuilt, "builds", "*", "*", "archive", "*"))
		if err != nil || len(left) != 1 {
			t.Fatalf("the build has left %v at the second site: %v", left, err)
		}
		must(t, os.WriteFile(left[0], nil, 0o600))
		_, err = d.primary.DB.Exec(t.Context(), "UPDATE casq.build_trace_chunks SET bytes = 'something else'")
		must(t, err)
		planted = []string{quoteName(missing), quoteName(other)}
	})

	out, err := b.run(t.Context())

	if !errors.Is(err, ErrDifferent) {
		t.Fatalf("error is %v", err)
	}
	if strings.Contains(out, "demo: OK") {
		t.Error("OK was said")
	}
	wantAll(t, out,
		"DIFFERENT   file "+planted[0]+": missing on the second site",
		"DIFFERENT   file "+planted[1]+": ",
		`file "more": only on the second site`, `file "linked": neither file nor folder`, `folder "left/over": left empty`,
		`staging ".casq/half": left`, `file "rowless": missing on the second site`, `file "rowless": the primary site has no row for it`,
		`repository "own.git": refs/heads/side is `, `repository "own.git": refs/heads/added is "" on the primary site`,
		`repository "own.git": HEAD is "ref: refs/heads/`, `repository "stranger.git": only on the second site`,
		`repository "casq-demo.git": missing on the second site`,
		"DIFFERENT   counter of project ", "DIFFERENT   file \"builds/", "DIFFERENT   build 1: its log is \"something else",
		`source/top" changed while`, `source/new" appeared while`, `source/empty" vanished while`, `refs/tags/meanwhile" appeared while`)
}

func TestAnInterruptLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, point := range []string{pointScanned, pointFollowing} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			ctx, interrupt := context.WithCancel(t.Context())
			b.at(point, func(*demo) { interrupt() })
			out, err := b.run(ctx)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error is %v", err)
			}
			if strings.Contains(out, "demo: OK") {
				t.Error("OK was said")
			}
		})
	}
}

func TestAWorkerThatEndsEndsTheDemo(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.config.Worker = "/bin/false"
	_, err := b.run(t.Context())
	if err == nil {
		t.Fatal("no error")
	}
	wantAll(t, err.Error(), "site's worker ended: exit status 1")
}

func TestAStandstillIsExplained(t *testing.T) {
	t.Parallel()
	skipShort(t)
	b := setup(t)
	b.config.stall = 3 * time.Second
	b.at(pointScanned, func(d *demo) {
		// Nothing can be put below a link.
		must(t, os.Mkdir(filepath.Join(d.places.secondFiles, kindArtifact), 0o700))
		must(t, os.Symlink("/nonexistent", filepath.Join(d.places.secondFiles, kindArtifact, "lib")))
	})
	_, err := b.run(t.Context())
	if err == nil {
		t.Fatal("no error")
	}
	wantAll(t, err.Error(), "the second site stood still for 3s", "artifact 'lib/", "is failed", "symbolic link")
}

func TestKeptSitesCanBeInspected(t *testing.T) {
	t.Parallel()
	skipShort(t)
	b := setup(t)
	b.config.Keep = true

	out, err := b.run(t.Context())

	must(t, err)
	dirs, err := filepath.Glob(filepath.Join(b.config.temporary, dirPrefix+"*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("kept are %v, %v", dirs, err)
	}
	script := func(verb string) {
		t.Helper()
		if out, err := exec.CommandContext(context.Background(), filepath.Join(dirs[0], keeperName), verb).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", verb, err, out)
		}
	}
	t.Cleanup(func() {
		if _, err := os.Lstat(dirs[0]); err == nil {
			script("remove")
		}
	})
	if isDead(dirs[0]) {
		t.Error("a later demo would take what is kept for a left-over")
	}
	commands := regexp.MustCompile(`psql '([^']+)' -c "([^"]+)"`).FindAllStringSubmatch(out, -1)
	if len(commands) != len(questions) {
		t.Fatalf("%d psql commands, want %d", len(commands), len(questions))
	}
	ask := func() {
		t.Helper()
		for _, command := range commands {
			conn, err := pgx.Connect(t.Context(), command[1])
			must(t, err)
			tag, err := conn.Exec(t.Context(), command[2])
			must(t, errors.Join(err, conn.Close(t.Context())))
			if tag.RowsAffected() == 0 {
				t.Errorf("no rows: %s", command[2])
			}
		}
	}
	ask()
	script("stop")
	script("start")
	ask()
	script("remove")
	if _, err := os.Lstat(dirs[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", dirs[0], err)
	}
}
