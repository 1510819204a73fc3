package cli

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"
)

// What fails each second for an hour is written some twenty times, and says how
// often it was not. What else is logged meanwhile is not held up.
func TestRepeatedErrorsAreWrittenLessAndLessOften(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s := newSparing(slog.NewTextHandler(&out, nil))
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	s.seen.now = func() time.Time { return now }
	log := slog.New(s).With("component", "ticker")
	for range 3600 {
		log.Error("cannot take a tick, trying again", "err", errors.New("it is another cluster"))
		now = now.Add(time.Second)
	}
	n := strings.Count(out.String(), "cannot take a tick")
	if n < 15 || n > 25 || !strings.Contains(out.String(), "repeated=") {
		t.Errorf("written %d times:\n%s", n, out.String())
	}
	out.Reset()
	log.Error("cannot take a tick, trying again", "err", errors.New("it is away"))
	log.Info("cannot take a tick, trying again", "err", errors.New("it is another cluster"))
	log.With("pid", 1).Error("cannot take a tick, trying again", "err", errors.New("it is another cluster"))
	if n := strings.Count(out.String(), "\n"); n != 3 {
		t.Errorf("of three other records %d were written:\n%s", n, out.String())
	}
	out.Reset()
	now = now.Add(time.Hour)
	log.Error("cannot take a tick, trying again", "err", errors.New("it is another cluster"))
	if out.Len() == 0 || strings.Contains(out.String(), "repeated=") {
		t.Errorf("what is over and comes again is new: %q", out.String())
	}
	for i := range 2 * mostRepeated {
		log.Warn("one of many", "n", i)
	}
	if len(s.seen.last) > mostRepeated {
		t.Errorf("%d records are kept in mind", len(s.seen.last))
	}
}

// What Postgres says beside its message is what an operator has to do.
func TestErrorsOfPostgresAreWrittenInFull(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("take a tick: %w", &pgconn.PgError{
		Severity: "ERROR", Code: "55000", Message: "the log is of another cluster", Detail: "It is of 1.", Hint: "Run SELECT casq.adopt_log().",
	})
	for _, format := range []string{LogText, LogJSON} {
		var out bytes.Buffer
		LogConfig{Format: format}.Logger(&out).Warn("cannot", "err", err)
		for _, want := range []string{"the log is of another cluster", "DETAIL: It is of 1.", "HINT: Run SELECT casq.adopt_log()."} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s lacks %q: %s", format, want, out.String())
			}
		}
	}
	var out bytes.Buffer
	root := &cobra.Command{Use: "program"}
	root.SetErr(&out)
	if code := report(root, err); code != exitError || !strings.Contains(out.String(), "HINT: Run") {
		t.Errorf("exit code %d, %s", code, out.String())
	}
}
