package jobs

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"casq/eventlog"
)

// Each run has one line, by which a resource is followed from its event on.
func TestEachRunHasALine(t *testing.T) {
	t.Parallel()
	refused := errors.New("refused")
	for outcome, test := range map[string]struct {
		copy func(context.Context) error
		want []string
	}{
		"synced": {nil, []string{`level=DEBUG msg="run ended"`, "outcome=synced", "deleted=false", "bytes=2", "duration="}},
		"failed": {func(context.Context) error { return refused }, []string{`level=WARN msg="run failed"`, "err=refused"}},
	} {
		t.Run(outcome, func(t *testing.T) {
			t.Parallel()
			b := setupWork(t, &mover{copy: test.copy})
			var said bytes.Buffer
			b.worker.cfg.Logger = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug}))
			b.token = b.event(t, 7, eventlog.Updated)
			_ = b.work(t.Context(), 1)
			var lines []string
			for line := range strings.Lines(said.String()) {
				if strings.Contains(line, `msg="run `) {
					lines = append(lines, line)
				}
			}
			if len(lines) != 1 {
				t.Fatalf("want one line, got %q", said.String())
			}
			for _, part := range append([]string{"kind=resource", "resource_id=x", "version=", "claim=", "attempt=1", "timeline=1", "event=7", "tick=7"}, test.want...) {
				if !strings.Contains(lines[0], part) {
					t.Errorf("%q does not tell %s", lines[0], part)
				}
			}
		})
	}
}
