package workers

import (
	"encoding/json"
	"log/slog"
	"time"
)

// Entry is a record of a worker's log.
type Entry struct {
	At        time.Time
	Worker    string
	Level     slog.Level
	Component string // "cursor" or "lease"
	Message   string
	Attrs     map[string]any // the rest; durations are nanoseconds
}

// Obtained tells whether its process has become the one that follows the log.
func (e Entry) Obtained() bool { return e.Message == "lease obtained, fetching events" }

// Denied tells whether its process was told that another follows the log.
func (e Entry) Denied() bool {
	return e.Message == "cannot obtain lease, another process holds it"
}

// parse reads a line of a worker's log. ok is false when cursor and lease have
// not written it, or another cursor has.
func parse(name string, line []byte) (e Entry, ok bool) {
	var head struct {
		Time                   time.Time
		Level                  slog.Level
		Msg, Component, Cursor string
	}
	if json.Unmarshal(line, &head) != nil || json.Unmarshal(line, &e.Attrs) != nil {
		return e, false
	}
	if head.Cursor != cursorName || head.Component != "cursor" && head.Component != "lease" {
		return e, false
	}
	for _, key := range []string{"time", "level", "msg", "component", "cursor"} {
		delete(e.Attrs, key)
	}
	e.At, e.Worker, e.Level, e.Component, e.Message = head.Time, name, head.Level, head.Component, head.Msg
	return e, true
}
