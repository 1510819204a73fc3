package main

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"casq/internal/testing/testdb"
)

func TestMain(m *testing.M) { testdb.Main(m) }

// TestShortRun is a rehearsal of two seconds.
func TestShortRun(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts servers of its own")
	}
	var out strings.Builder
	err := rehearse(t.Context(), config{duration: 2 * time.Second, seed: 1, out: &out, log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	t.Log("\n" + out.String())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), "\npromote: OK\n") {
		t.Error("the last line is not: promote: OK")
	}
}
