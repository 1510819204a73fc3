package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// event is a line of go test -json; see go doc test2json.
type event struct {
	Action  string
	Test    string
	Elapsed float64 // seconds
	Output  string
}

// results is what go test said about each test and subtest, by its full name.
type results struct {
	action  map[string]string // pass, fail or skip; absent: begun and not ended
	seconds map[string]float64
	output  map[string]*strings.Builder
}

// readResults reads until go test has ended. Races that have ended are named
// in progress, since the table only comes when all have.
func readResults(stdout io.Reader, progress io.Writer) (*results, error) {
	res := &results{
		action:  map[string]string{},
		seconds: map[string]float64{},
		output:  map[string]*strings.Builder{},
	}
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			res.add(line, progress)
		}
		if errors.Is(err, io.EOF) {
			return res, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read from go test: %w", err)
		}
	}
}

func (r *results) add(line []byte, progress io.Writer) {
	var e event
	if err := json.Unmarshal(line, &e); err != nil {
		// The go command itself may write beside its JSON.
		e = event{Action: "output", Output: string(line)}
	}
	switch e.Action {
	case "pass", "fail", "skip":
		if e.Test != "" || r.action[""] != "fail" { // of several folders one may have failed
			r.action[e.Test] = e.Action
		}
		r.seconds[e.Test] = e.Elapsed
		if e.Test != "" && !strings.Contains(e.Test, "/") {
			fmt.Fprintf(progress, "%s %s (%.1f s)\n", e.Action, e.Test, e.Elapsed)
		}
	case "output", "build-output":
		// A race's log is that of its subtests too, in their order.
		name, _, _ := strings.Cut(e.Test, "/")
		if r.output[name] == nil {
			r.output[name] = new(strings.Builder)
		}
		r.output[name].WriteString(e.Output)
	}
}

// verdict is what the table says about one race.
type verdict struct {
	won   bool
	ours  string
	twins []string
}

// verdict turns the results of a race's test and subtests into a verdict.
// Whatever is not known to have passed is lost.
func (r *results) verdict(test string) verdict {
	var v verdict
	complete := r.action[test] == "pass"
	for _, name := range sortedKeys(r.action) {
		sub, ok := strings.CutPrefix(name, test+"/")
		if !ok {
			continue
		}
		passed := r.action[name] == "pass"
		complete = complete && passed
		if twin, ok := strings.CutPrefix(sub, "twin/"); ok {
			if text := r.twin(twin, name, passed); text != "" {
				v.twins = append(v.twins, text)
			}
		}
	}
	ours := r.ours(test)
	v.won = complete && ours == "pass"
	switch {
	case v.won:
		v.ours = "won"
	case ours == "" && r.action[test] == "pass":
		v.ours = "lost (no subtest ours)"
	case r.action[test] == "skip" || ours == "skip":
		v.ours = "lost (skipped)"
	case r.action[test] == "":
		v.ours = "lost (did not end)"
	case ours == "pass":
		v.ours = "lost (see below)"
	default:
		v.ours = "lost"
	}
	return v
}

// ours is the result of the subtest ours, or of its cases where each is a
// subtest ours/<case>: the first that is not passed.
func (r *results) ours(test string) string {
	whole := r.action[test+"/ours"]
	if whole != "" {
		return whole
	}
	for _, name := range sortedKeys(r.action) {
		if strings.HasPrefix(name, test+"/ours/") {
			if whole = r.action[name]; whole != "pass" {
				return whole
			}
		}
	}
	return whole
}

// twin describes one subtest below twin/; "" for what is only a part of one.
func (r *results) twin(twin, name string, passed bool) string {
	twin, rest, nested := strings.Cut(twin, "/")
	says, fails := "goes wrong", "does NOT go wrong"
	switch {
	case nested && rest == "wins":
		says, fails = "wins", "does NOT win"
	case nested:
		return ""
	case r.action[name+"/wins"] != "":
		return "" // the nested subtest speaks for it
	}
	if !passed {
		says = fails
	}
	return strings.ReplaceAll(twin, "_", " ") + ": " + says
}
