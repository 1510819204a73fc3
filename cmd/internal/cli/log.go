package cli

import (
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// The formats of the log. The default is text on a terminal and JSON elsewhere.
const (
	LogText = "text"
	LogJSON = "json"
)

// LogConfig says how a program logs.
type LogConfig struct {
	Format string // [LogText], [LogJSON], or "" for the default
	Level  slog.Level
}

// Logger returns a logger that writes to out.
func (c LogConfig) Logger(out io.Writer) *slog.Logger {
	terminal := Terminal(out)
	if c.Format == LogJSON || (c.Format == "" && !terminal) {
		return slog.New(slog.NewJSONHandler(printable{out}, &slog.HandlerOptions{Level: c.Level, ReplaceAttr: durationsInWords}))
	}
	return slog.New(tint.NewTextHandler(out, &tint.Options{
		Level: c.Level, TimeFormat: time.TimeOnly, NoColor: !terminal,
	}))
}

// durationsInWords writes durations as "1m30s": slog writes nanoseconds, which
// nobody can tell from a number of anything else.
func durationsInWords(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
