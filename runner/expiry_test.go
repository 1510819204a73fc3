package runner_test

import (
	"testing"
	"time"

	"casq/runner"
)

func TestExpiry(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"1 week": 7 * day, "30 mins": 30 * time.Minute, "42": 42 * time.Second, "3 mins 4 sec": 184 * time.Second,
		"2 hrs 20 min": 140 * time.Minute, "2h20min": 140 * time.Minute, "6 mos 1 day": 181 * day,
		"47 yrs 6 mos and 4d": (47*365 + 184) * day, "3 weeks and 2 days": 23 * day, " 1 Day ": day, "1d, 2h": 26 * time.Hour,
	} {
		got, err := runner.Expiry(text)
		if err != nil || got == nil || *got != want.Seconds() {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want.Seconds())
		}
	}
	for _, text := range []string{"", "never", "Never"} {
		if got, err := runner.Expiry(text); got != nil || err != nil {
			t.Errorf("%q is %v, %v; want for ever", text, got, err)
		}
	}
	for _, text := range []string{"soon", "-1 day", "1 fortnight", "week", "9999999 s", "500 years", "1 day and", "1.5 days", "1 week\x00"} {
		if got, err := runner.Expiry(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}
