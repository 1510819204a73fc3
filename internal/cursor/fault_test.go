package cursor

import (
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/faultproxy"
)

// Each durable step of a cursor is lost on its way to the server, or done with
// its answer lost. In any case the cursor goes on by itself, and each event
// takes effect once. (The lease has a matrix of its own.)
func TestFaults(t *testing.T) {
	t.Parallel()
	for step, text := range map[string]string{
		"first position":     "INSERT INTO casq.cursors",
		"end of a session":   "pg_terminate_backend",
		"epoch":              "SET epoch = epoch + 1",
		"turn of a batch":    "casq.cursor.batch.",
		"fence and position": "SET system_identifier = ",
		"commit":             "commit\x00",
		"beat":               "SET beat = beat + 1, beat_at",
		"error":              "fail as told",
	} {
		for what, persists := range map[string]bool{"failed": false, "failed, but persisted": true} {
			t.Run(step+"/"+what, func(t *testing.T) {
				t.Parallel()
				playFault(t, text, persists)
			})
		}
	}
}

func playFault(t *testing.T, text string, persists bool) {
	t.Helper()
	b := setup(t)
	b.write(t, "a", "b", "c")
	network := faultproxy.New()
	if persists {
		network.LoseAnswerTo(text)
	} else {
		network.Lose(text)
	}
	// One that stands still in its first batch, without a sign of life, and is
	// taken over from; the very first position is stored before.
	const lease = 400 * time.Millisecond
	stuck := newStop("batch:read")
	if text != "INSERT INTO casq.cursors" {
		before := b.config(t)
		before.Hook, before.Lease = stuck.hook, time.Hour
		run(t, before)
		stuck.await(t)
		t.Cleanup(func() { close(stuck.resume) })
	}
	cfg := b.config(t)
	cfg.Home, cfg.PageSize, cfg.Lease = network.Pool(t, simple(t, b.url)), 2, lease
	cfg.Logger = slog.New(slog.DiscardHandler)
	failed, lost := false, false
	cfg.Consumer = writer{fail: func(eventlog.Batch) error {
		if failed || !strings.Contains(text, "fail as told") {
			return nil
		}
		failed = true
		return errors.New("fail as told")
	}}
	await := func() {
		if lost {
			return
		}
		select {
		case <-network.Lost():
			lost = true
		case <-time.After(30 * time.Second):
			t.Error("nothing was lost")
		}
	}
	cfg.Hook = func(point string) {
		if point == "batch:read" && strings.Contains(text, "beat_at") {
			await() // a step that takes long
		}
	}
	run(t, cfg)
	b.untilEffects(t, "a", "b", "c")
	if !strings.Contains(text, "beat_at") {
		await()
	}
	b.write(t, "d", "e")
	b.untilEffects(t, "a", "b", "c", "d", "e")
}

// simple makes each statement one message that has its text.
func simple(t *testing.T, databaseURL string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	query.Set("default_query_exec_mode", "simple_protocol")
	// As [database.Open] has it: values are text here.
	query.Set("datestyle", "ISO")
	u.RawQuery = query.Encode()
	return u.String()
}
