package cli

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"
)

func TestDurationsMayHaveDays(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"30d": 720 * time.Hour, "1d12h": 36 * time.Hour, "0d": 0, "90s": 90 * time.Second, "106751d": 106751 * day,
	} {
		if got, err := parseDuration(text); got != want || err != nil {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"d", "1.5d", "-1d", "1d-1h", "1d+1h", "1d2d", "106752d", "106751d24h", "12h1d", "1day", ""} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q: %s", text, got)
		}
	}
	for d, want := range map[time.Duration]string{
		30 * day: "30d", 36 * time.Hour: "36h", time.Hour: "1h", 90 * time.Minute: "1h30m", 10 * time.Minute: "10m",
		100 * time.Second: "1m40s", time.Hour + time.Second: "1h0m1s", 10 * time.Second: "10s", 100 * time.Millisecond: "100ms",
	} {
		back, err := parseDuration(want)
		if got := durationText(d); got != want || back != d || err != nil {
			t.Errorf("%s: %s, and back %s, %v", d, got, back, err)
		}
	}
}

// A bare number of nanoseconds was taken for anything.
func TestLoggedDurationsHaveAUnit(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	LogConfig{Format: LogJSON}.Logger(&out).Info("waits", "after", 90*time.Second)
	var record struct{ After any }
	if err := json.Unmarshal(out.Bytes(), &record); err != nil || record.After != "1m30s" {
		t.Errorf("%s: %v, %v", out.String(), record.After, err)
	}
}
