package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are for people who type what is there, and how many blocks of each language one has at
// the least: one whose blocks were not found would pass.
var pages = []struct {
	name           string
	sh, sql, texts int
}{
	{"quick-start", 7, 8, 4},
	{"two-sites", 12, 7, 6},
	{"promotion", 18, 3, 4},
	{"counters", 5, 8, 5},
	{"gitlab-runner", 7, 3, 3},
}

// TestPages follows the pages of docs that have commands, block by block. A text block is what
// the one before it prints, in the end.
func TestPages(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts servers of its own, and builds a program")
	}
	for _, page := range pages {
		t.Run(page.name, func(t *testing.T) {
			t.Parallel()
			seen := followPage(t, page.name)
			if seen["sh"] < page.sh || seen["sql"] < page.sql || seen["text"] < page.texts {
				t.Errorf("the page's blocks were not found: %v", seen)
			}
		})
	}
}

// TestValidate is a test of its own, which make validate runs.
func TestValidate(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts servers of its own, and builds a program")
	}
	seen := followPage(t, "validate-counters")
	if seen["sh"] < 10 || seen["sql"] < 10 || seen["text"] < 10 || seen["stopped"] != 1 {
		t.Errorf("the page's blocks were not found: %v", seen)
	}
}

// step is a heading of a page, a block of it, or Ctrl-C.
var step = regexp.MustCompile("(?s)\n## [^\n]*|\nStop the worker \\(Ctrl-C|\n```(sh|sql|text)\n(.*?\n)```")

// followPage does what a page says, and counts its blocks by language.
func followPage(t *testing.T, name string) (seen map[string]int) {
	t.Helper()
	text, err := os.ReadFile("../../docs/" + name + ".md")
	if err != nil {
		t.Fatal(err)
	}
	r := reader{t, openFolder(t)}
	r.link("worker")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(r.dir, "bin", "enqueue"), "../enqueue")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build enqueue: %v\n%s", err, out)
	}
	return r.follow(string(text))
}

// follow does what a text says, and counts its blocks by language.
func (r reader) follow(text string) (seen map[string]int) {
	r.t.Helper()
	p := pageReader{reader: r, seen: make(map[string]int), serveAddr: freeAddr(r.t)}
	steps := step.FindAllStringSubmatch(text, -1)
	for i, found := range steps {
		p.step(found[0], found[1], found[2], i+1 < len(steps) && steps[i+1][1] == "text")
	}
	return p.seen
}

// freeAddr is an address that nobody has: both sites of a page name it.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// pageReader is a reader of a page with headings, workers that are stopped, and blocks that tell
// what the one before them prints.
type pageReader struct {
	reader
	seen      map[string]int
	previous  [2]string // the block before: what does it, with what input
	workers   []func()  // stop those that run, the newest last
	serveAddr string    // a free one
}

// step does what a block says. One that prints the next is not done here: it changes nothing, and
// is repeated until it prints that.
func (p *pageReader) step(all, language, text string, printsNext bool) {
	p.t.Helper()
	p.seen[language]++
	text = strings.ReplaceAll(text, "127.0.0.1:8091", "127.0.0.1:0") // a port that is free
	text = strings.ReplaceAll(text, "127.0.0.1:8093", p.serveAddr)
	switch {
	case strings.HasPrefix(all, "\n##"):
		p.t.Log(strings.TrimSpace(all))
	case language == "":
		last := len(p.workers) - 1
		p.workers[last]()
		p.workers = p.workers[:last]
		p.seen["stopped"]++
	case text == "make build\n", strings.HasPrefix(text, "gitlab-runner "):
		// This test's own program is used instead, and no runner.
	case language == "text":
		p.shows(text)
	case strings.Contains("\n"+text, "\nbin/worker dev"):
		p.start(text)
	case strings.Contains("\n"+text, "\nbin/worker run"):
		p.workers = append(p.workers, p.start(text))
	default:
		p.previous = [2]string{text, ""}
		if language == "sql" {
			p.previous = [2]string{psql, text}
		}
		if !printsNext {
			p.shell(p.previous[0], p.previous[1])
		}
	}
}

// shows wants the block before to print the text, at once or a moment later.
func (p *pageReader) shows(text string) {
	p.t.Helper()
	var last string
	defer func() {
		if p.t.Failed() {
			p.t.Logf("instead it printed\n%s", last)
		}
	}()
	p.until("prints\n"+text, func() bool {
		var err error
		last, err = p.output(p.previous[0], p.previous[1])
		return err == nil && trimmed(last) == trimmed(text)
	})
}
