// Package logged keeps what a program under test logs.
package logged

import (
	"context"
	"log/slog"
	"strings"
	"sync"
)

// Messages is a [slog.Handler] that keeps messages and levels, of all levels.
//
// mu guards the rest.
type Messages struct {
	mu       sync.Mutex
	messages []string
	levels   []slog.Level
}

// Enabled implements [slog.Handler].
func (m *Messages) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements [slog.Handler].
func (m *Messages) WithAttrs([]slog.Attr) slog.Handler { return m }

// WithGroup implements [slog.Handler].
func (m *Messages) WithGroup(string) slog.Handler { return m }

// Handle implements [slog.Handler].
func (m *Messages) Handle(_ context.Context, r slog.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.messages, m.levels = append(m.messages, r.Message), append(m.levels, r.Level)
	return nil
}

// Count is how many messages have this part.
func (m *Messages) Count(part string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, message := range m.messages {
		if strings.Contains(message, part) {
			n++
		}
	}
	return n
}

// All returns the messages, each with its level.
func (m *Messages) All() (messages []string, levels []slog.Level) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append(messages, m.messages...), append(levels, m.levels...)
}
