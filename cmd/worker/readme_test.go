package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"casq/internal/testing/await"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestReadmeSaysItInOneSentence(t *testing.T) {
	t.Parallel()
	const sentence = "Event ingestion enqueues transactional River jobs carrying a registry version token, " +
		"and workers compare-and-swap registry rows while finalize jobs swap in the refreshed artifact counters"
	if !strings.Contains(readme(t), sentence) {
		t.Errorf("README.md does not say: %s", sentence)
	}
}

var raceID = regexp.MustCompile(`\bR\d{2,3}\b`)

func TestPublishedNamesRacesThatThereAre(t *testing.T) {
	t.Parallel()
	list, err := os.ReadFile("../../races/README.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("there is no list of races yet")
	}
	published, readErr := os.ReadFile("../../docs/published.md")
	if err := errors.Join(err, readErr); err != nil {
		t.Fatal(err)
	}
	for _, id := range raceID.FindAllString(string(published), -1) {
		if !strings.Contains(string(list), id) {
			t.Errorf("docs/published.md names %s, which is no race in races/README.md", id)
		}
	}
}

var smallestUse = regexp.MustCompile(`(?s)\n## The smallest use.*?\n## `)

// reader is somebody who does what the README says, in a folder of their own.
type reader struct {
	t   *testing.T
	dir string
}

// TestReadme follows the section about the smallest use, block by block. A text
// block is what the one before it prints, in the end.
func TestReadme(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts servers of its own")
	}
	r := reader{t, openFolder(t)}
	r.link("worker")
	seen := r.follow(smallestUse.FindString(readme(t)))
	if seen["sh"] < 4 || seen["sql"] < 5 || seen["text"] < 1 {
		t.Errorf("the README's blocks were not found: %v", seen)
	}
	r.until("takes the file away", func() bool {
		_, err := os.Stat(filepath.Join(r.dir, ".casq-dev", "second", "document", "hello.txt"))
		return errors.Is(err, fs.ErrNotExist)
	})
}

// openFolder returns a folder that servers of another user can reach.
func openFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// link puts a program of this test into bin.
func (r reader) link(name string) {
	r.t.Helper()
	program, err := exec.LookPath(name)
	if err == nil {
		err = os.MkdirAll(filepath.Join(r.dir, "bin"), 0o755)
	}
	if err == nil {
		err = os.Symlink(program, filepath.Join(r.dir, "bin", name))
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r reader) command(ctx context.Context, script string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-euc", script)
	cmd.Dir = r.dir
	// Nothing of this machine's own casq.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=10", "PSQLRC=/dev/null"}
	return cmd
}

func (r reader) output(script, input string) (string, error) {
	cmd := r.command(r.t.Context(), script)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (r reader) shell(script, input string) string {
	r.t.Helper()
	out, err := r.output(script, input)
	if err != nil {
		r.t.Fatalf("%s\n%s: %v\n%s", script, input, err, out)
	}
	return out
}

// psql takes statements of the page.
const psql = `. .casq-dev/env && psql -q -v ON_ERROR_STOP=1 "$DATABASE_URL"`

// started is the last that both programs say before they wait.
var started = regexp.MustCompile(`worker started|Ctrl-C stops them`)

// start starts what stays in its terminal. stop is Ctrl-C, when the test ends at
// the latest.
func (r reader) start(script string) (stop func()) {
	r.t.Helper()
	terminal, err := os.Create(filepath.Join(r.t.TempDir(), "terminal"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer terminal.Close()
	shown := func() string {
		text, err := os.ReadFile(terminal.Name())
		if err != nil {
			r.t.Error(err)
		}
		return string(text)
	}
	last := strings.LastIndex("\n"+script, "\nbin/worker")
	cmd := r.command(context.Background(), script[:last]+"exec "+script[last:])
	cmd.Stdout, cmd.Stderr = terminal, terminal
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		if err := cmd.Wait(); err != nil || r.t.Failed() {
			r.t.Errorf("%s: %v\n%s", script, err, shown())
		}
	})
	r.t.Cleanup(stop)
	r.until("starts\n"+script, func() bool { return started.MatchString(shown()) })
	return stop
}

func (r reader) until(what string, met func() bool) {
	r.t.Helper()
	await.True(r.t, 30*time.Second, "it "+what, met)
}

// trimmed drops blanks at the ends of lines.
func trimmed(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}
