package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"casq/internal/testing/workers"
)

// story prints what the workers log as it comes, and keeps what they have told
// and what was done to them.
//
// mu guards the rest.
type story struct {
	began time.Time
	name  func(holder string) string

	mu     sync.Mutex
	out    io.Writer
	told   []sentence
	denied map[string]string // by worker, by whom it was last
}

// sentence is something that happened.
type sentence struct {
	at   time.Time
	text string
}

func newStory(out io.Writer, name func(holder string) string) *story {
	return &story{began: time.Now(), out: out, name: name, denied: make(map[string]string)}
}

func (s *story) begin(title string) { fmt.Fprintf(s.out, "%s\n\n", title) }

// add takes what a worker has logged.
func (s *story) add(e workers.Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "%7.3f  %s  %-5s  %-6s  %s%s\n", s.since(e.At), e.Worker, e.Level, e.Component, e.Message, s.attrs(e))
	if text := s.words(e); text != "" {
		s.told = append(s.told, sentence{e.At, e.Worker + " " + text})
	}
}

// note takes what was done, and seen from outside.
func (s *story) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	fmt.Fprintf(s.out, "%7.3f  --- %s\n", s.since(now), text)
	s.told = append(s.told, sentence{now, text})
}

// tell prints everything in words, in its order.
func (s *story) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.SortStableFunc(s.told, func(a, b sentence) int { return a.at.Round(0).Compare(b.at.Round(0)) })
	fmt.Fprint(s.out, "\nIn words:\n\n")
	for _, t := range s.told {
		fmt.Fprintf(s.out, "%7.3f  %s\n", s.since(t.at), t.text)
	}
}

// since uses the wall clock, which all processes have.
func (s *story) since(at time.Time) float64 { return at.Round(0).Sub(s.began.Round(0)).Seconds() }

// words is what an entry says, "" when it was said already.
func (s *story) words(e workers.Entry) string {
	switch e.Message {
	case "lease obtained, fetching events":
		delete(s.denied, e.Worker)
		return fmt.Sprintf("obtained the lease, for which it had waited %s; its epoch is %s", s.value(e, "waited"), s.value(e, "epoch"))
	case "cannot obtain lease, another process holds it":
		holder := s.value(e, "holder")
		if s.denied[e.Worker] == holder {
			return ""
		}
		s.denied[e.Worker] = holder
		return fmt.Sprintf("was denied the lease: %s holds it, for another %s", holder, s.value(e, "expires_in"))
	case "lease released, finished fetching events":
		return fmt.Sprintf("is done with it, after %s events in %s", s.value(e, "events"), s.value(e, "held"))
	case "lease lost, another process may take over":
		if _, known := e.Attrs["taken_by"]; known {
			return fmt.Sprintf("has lost the lease: %s holds it", s.value(e, "taken_by"))
		}
		return "may have lost the lease: Redis does not answer"
	case "fenced, batch rolled back":
		return fmt.Sprintf("was fenced: its epoch %s is over, it is %s", s.value(e, "epoch"), s.value(e, "new_epoch"))
	default:
		return "says: " + e.Message
	}
}

// attrs are the rest of an entry, in a line; that a worker is itself goes
// without saying.
func (s *story) attrs(e workers.Entry) string {
	keys := make([]string, 0, len(e.Attrs))
	for key := range e.Attrs {
		if key != "holder" || s.value(e, key) != e.Worker {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var text strings.Builder
	for _, key := range keys {
		value := s.value(e, key)
		if strings.ContainsAny(value, " \n\"") {
			value = fmt.Sprintf("%q", value)
		}
		fmt.Fprintf(&text, "  %s=%s", key, value)
	}
	return text.String()
}

// value is an attribute for people: a worker's name for its id.
func (s *story) value(e workers.Entry, key string) string {
	switch value := e.Attrs[key]; key {
	case "waited", "held", "expires_in", "left":
		if ns, ok := value.(float64); ok {
			return seconds(time.Duration(ns))
		}
		return fmt.Sprint(value)
	case "holder", "taken_by":
		return s.name(fmt.Sprint(value))
	default:
		return fmt.Sprint(value)
	}
}

func seconds(d time.Duration) string { return d.Round(10 * time.Millisecond).String() }
