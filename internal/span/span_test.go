package span_test

import (
	"errors"
	"testing"
	"time"

	"casq/internal/span"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParse(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"": 0, "42": 42 * time.Second, "1 week": 7 * day, "3 mins 4 sec": 184 * time.Second, "2h20min": 140 * time.Minute,
		"47 yrs 6 mos and 4d": (47*365 + 184) * day, "1d, 2h": 26 * time.Hour, "100 years": 36500 * day,
	} {
		if got, err := span.Parse(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"soon", "-1 day", "1 fortnight", "week", "9999999 s", "101 years", "99 years 400 days", "1 day and", "1.5 days"} {
		if got, err := span.Parse(text); !errors.Is(err, span.ErrSpan) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}
