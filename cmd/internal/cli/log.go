package cli

import (
	"io"
	"log/slog"
	"os"
	"time"

	"casq/internal/database"

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
	// Warnings are what was unwise about the environment, for the log's first lines.
	Warnings []string
}

// Logger returns a logger that writes to out, and has said the warnings.
func (c LogConfig) Logger(out io.Writer) *slog.Logger {
	log := c.logger(out)
	for _, warning := range c.Warnings {
		log.Warn("the configuration is unwise", "why", warning)
	}
	return log
}

func (c LogConfig) logger(out io.Writer) *slog.Logger {
	terminal := Terminal(out)
	if c.Format == LogJSON || (c.Format == "" && !terminal) {
		return slog.New(newSparing(slog.NewJSONHandler(printable{out}, &slog.HandlerOptions{Level: c.Level, ReplaceAttr: inWords})))
	}
	return slog.New(newSparing(tint.NewTextHandler(out, &tint.Options{
		Level: c.Level, TimeFormat: time.TimeOnly, NoColor: !terminal, ReplaceAttr: errorsInFull,
	})))
}

// inWords writes durations as "1m30s": slog writes nanoseconds, which nobody can
// tell from a number of anything else.
func inWords(groups []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return errorsInFull(groups, a)
}

// errorsInFull writes errors of Postgres with their details and hints.
func errorsInFull(_ []string, a slog.Attr) slog.Attr {
	if err, ok := a.Value.Any().(error); ok && database.Code(err) != "" {
		a.Value = slog.StringValue(database.Explain(err))
	}
	return a
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
