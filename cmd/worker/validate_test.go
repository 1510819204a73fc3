package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// step is a heading of the page, a block of it, or Ctrl-C.
var step = regexp.MustCompile("(?s)\n## [^\n]*|\nStop the worker \\(Ctrl-C|\n```(sh|sql|text)\n(.*?\n)```")

// TestValidate follows docs/validate-counters.md, block by block. A text block
// is what the one before it prints, in the end.
func TestValidate(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts servers of its own, and builds a program")
	}
	page, err := os.ReadFile("../../docs/validate-counters.md")
	if err != nil {
		t.Fatal(err)
	}
	r := reader{t, openFolder(t)}
	r.link("worker")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(r.dir, "bin", "enqueue"), "../enqueue")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build enqueue: %v\n%s", err, out)
	}
	v := validation{reader: r, seen: make(map[string]int)}
	for _, found := range step.FindAllStringSubmatch(string(page), -1) {
		v.step(found[0], found[1], found[2])
	}
	if v.seen["sh"] < 10 || v.seen["sql"] < 10 || v.seen["text"] < 10 || v.seen["stopped"] != 1 {
		t.Errorf("the page's blocks were not found: %v", v.seen)
	}
}

// validation is a reader of that page.
type validation struct {
	reader
	seen       map[string]int
	previous   [2]string // the block before: what does it, with what input
	stopWorker func()
}

func (v *validation) step(all, language, text string) {
	v.t.Helper()
	v.seen[language]++
	switch {
	case strings.HasPrefix(all, "\n##"):
		v.t.Log(strings.TrimSpace(all))
	case language == "":
		v.stopWorker()
		v.seen["stopped"]++
	case text == "make build\n":
		// This test's own program is used instead.
	case language == "text":
		v.shows(text)
	case strings.Contains("\n"+text, "\nbin/worker dev"):
		v.start(text)
	case strings.Contains("\n"+text, "\nbin/worker run"):
		v.stopWorker = v.start(text)
		v.until("counts", func() bool {
			return strings.Contains(v.shell(". .casq-dev/env\nbin/enqueue queue list", ""), "casq_flush")
		})
	default:
		v.previous = [2]string{text, ""}
		if language == "sql" {
			v.previous = [2]string{psql, text}
		}
		if !queries.MatchString(text) {
			v.shell(v.previous[0], v.previous[1])
		}
	}
}

// queries is a block that changes nothing, and waits to be compared with the next.
var queries = regexp.MustCompile(`^(SELECT |.*\nbin/enqueue counter get )`)

// shows wants the block before to print the text, at once or a moment later.
func (v *validation) shows(text string) {
	v.t.Helper()
	var last string
	defer func() {
		if v.t.Failed() {
			v.t.Logf("instead it printed\n%s", last)
		}
	}()
	v.until("prints\n"+text, func() bool {
		var err error
		last, err = v.output(v.previous[0], v.previous[1])
		return err == nil && trimmed(last) == trimmed(text)
	})
}
