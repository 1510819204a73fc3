package admin

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"
)

// known is a row of the registry.
type known struct {
	Status          string
	Version         int64
	Synced          *int64
	Attempts        int
	Error           string
	Retry, Deleted  *time.Time
	Queued          time.Time
	Verified        *time.Time
	Size            *int64
	Checksum, Scope string
	Event           int64
	Timeline        int32
	Tick            int64
}

// happened is something that became of a resource.
type happened struct {
	At   time.Time
	What string
}

// near is a key near another one.
type near struct{ Key string }

// found is what the page of a resource shows.
type found struct {
	page
	Kind, Key string
	Now       time.Time
	Why       string
	Row       *known // nil: there is none
	History   []happened
	Near      []near // keys of the kind, where there is no row
}

// resourceTimeout is for all that the page of a resource reads.
const resourceTimeout = 5 * time.Second

// resource is the search, and what it finds.
func (s *Server) resource(w http.ResponseWriter, r *http.Request) error {
	f := found{page: s.about(r, "Resource"), Kind: strings.TrimSpace(r.FormValue("kind")), Key: r.FormValue("key"), Now: time.Now()}
	if err := checkName(f.Kind, f.Key); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), resourceTimeout)
	defer cancel()
	if err := s.find(ctx, &f); err != nil {
		return err
	}
	status := http.StatusOK
	if f.Row == nil {
		status = http.StatusNotFound
	}
	return s.render(w, status, "resource", f)
}

// checkName refuses what no resource is named.
func checkName(kind, key string) error {
	switch {
	case kind == "" || key == "":
		return refusal{http.StatusBadRequest, "A resource has a kind and a key."}
	case len(kind) > 100 || len(key) > mostKey:
		return refusal{http.StatusBadRequest, fmt.Sprintf("A key has at most %d bytes.", mostKey)}
	case !isText(kind) || !isText(key):
		return refusal{http.StatusBadRequest, "A kind and a key are text."}
	}
	return nil
}

// isText tells whether Postgres takes something for text.
func isText(value string) bool { return utf8.ValidString(value) && !strings.ContainsRune(value, 0) }

// find looks a resource up: by its key, or by the index of what is open.
func (s *Server) find(ctx context.Context, f *found) error {
	if err := s.home.QueryRow(ctx, sampleSQL.Why, f.Kind, f.Key).Scan(&f.Why); err != nil {
		return fmt.Errorf("ask why: %w", err)
	}
	rows, err := list[known](ctx, s.home, sampleSQL.Resource, f.Kind, f.Key)
	if err != nil {
		return fmt.Errorf("look it up: %w", err)
	}
	if len(rows) > 0 {
		f.Row = &rows[0]
	} else if f.Near, err = list[near](ctx, s.home, sampleSQL.Near, f.Kind, f.Key); err != nil {
		return fmt.Errorf("look for what is near it: %w", err)
	}
	if f.History, err = list[happened](ctx, s.home, sampleSQL.History, f.Kind, f.Key); err != nil {
		return fmt.Errorf("read its history: %w", err)
	}
	return nil
}

// Ago is how long ago something was.
func (f found) Ago(t time.Time) string { return span(f.Now.Sub(t)) }

// Command is what one would run next.
func (f found) Command() string {
	command := "enqueue why " + quoted(f.Kind) + " " + quoted(f.Key)
	if f.Row == nil {
		return command
	}
	of := "--kind " + quoted(f.Kind) + " --key " + quoted(f.Key)
	switch f.Row.Status {
	case "failed":
		return "enqueue resync " + of + " --wait"
	case "synced":
		return "enqueue verify " + of + " --wait"
	default:
		return command
	}
}

var plainWord = regexp.MustCompile(`^[a-zA-Z0-9_./][a-zA-Z0-9_./-]*$`)

// quoted is a word of a command line, in a shell.
func quoted(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
