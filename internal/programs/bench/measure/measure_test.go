package measure

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"casq/internal/testing/expect"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// figures has a round of each pair of ours and a reference.
func figures(pairs ...[2]float64) *Figures {
	f := &Figures{}
	for _, pair := range pairs {
		f.next()
		f.Add("ours", pair[0])
		f.Add("reference", pair[1])
	}
	return f
}

func TestSpreadIsOfPairs(t *testing.T) {
	t.Parallel()
	// The machine was slow in one round: both had half of it, and their ratio stays.
	r := figures([2]float64{10, 20}, [2]float64{12, 20}, [2]float64{5, 10}, [2]float64{9, 20}, [2]float64{11, 20}).Compare("a", "ours", "reference", "s", "")
	if r.Ours != 10 || r.Reference != 20 || r.Ratio() != 0.5 || r.Least != 0.45 || r.Most != 0.6 || r.Rounds != 5 {
		t.Errorf("got %+v", r)
	}
}

func TestRatioIsWithinItsSpread(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Float64Range(0.001, 1e6)
		f := &Figures{}
		for range rapid.IntRange(1, 9).Draw(t, "rounds") {
			f.next()
			f.Add("ours", value.Draw(t, "ours"))
			f.Add("reference", value.Draw(t, "reference"))
		}
		r := f.Compare("a", "ours", "reference", "s", "")
		if r.Ratio() < r.Least || r.Ratio() > r.Most {
			t.Fatalf("%f is not between %f and %f", r.Ratio(), r.Least, r.Most)
		}
	})
}

func TestPercentilesAreOfAllMeasurements(t *testing.T) {
	t.Parallel()
	f := &Figures{}
	for round := range 5 {
		f.next()
		for i := range 20 {
			f.Add("ours", float64(20*round+i+1))
			f.Add("reference", 1)
		}
	}
	r := f.CompareAt(99, "a", "ours", "reference", "ms", "")
	if r.Ours != 99 || r.Least != 20 || r.Most != 100 {
		t.Errorf("got %+v", r)
	}
	if got := f.Percentile("ours", 50); got != 50 {
		t.Errorf("the median of 1 to 100 by nearest rank is 50, not %f", got)
	}
	if got := Percentile(nil, 50); got != 0 {
		t.Errorf("nothing has percentile %f", got)
	}
	if got := Median([]float64{4, 1, 3, 2}); got != 2 {
		t.Errorf("the lower median of four is 2, not %f", got)
	}
}

func TestRoundsEnd(t *testing.T) {
	t.Parallel()
	f, err := (&Bench{}).Rounds(t.Context(), func(f *Figures) error { f.Add("ours", 1); return nil })
	if err != nil || len(f.rounds) != Rounds {
		t.Errorf("%d rounds, %v", len(f.rounds), err)
	}
	wrong := errors.New("read the clock")
	if _, err := (&Bench{}).Rounds(t.Context(), func(*Figures) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("a round's error is lost: %v", err)
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := (&Bench{}).Rounds(stopped, func(*Figures) error { t.Error("a round was played"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestResultAsALine(t *testing.T) {
	t.Parallel()
	line, err := json.Marshal(figures([2]float64{1, 4}, [2]float64{3, 4}).Compare("a/b", "ours", "reference", "jobs/s", "of 2"))
	expect.NoError(t, err)
	want := `{"bench":"a/b","ours":1,"reference":4,"unit":"jobs/s","ratio":0.25,"ratio_min":0.25,"ratio_max":0.75,"rounds":2,"note":"of 2"}`
	if string(line) != want {
		t.Errorf("got  %s\nwant %s", line, want)
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	results := []Result{
		{Bench: "sync", Ours: 14299, Reference: 32383, Unit: "jobs/s", Least: 0.4, Most: 0.5, Rounds: 5},
		{Bench: "relief/90", Ours: 80, Reference: 75.7, Unit: "%"},
		{Bench: "wal", Ours: 292000, Unit: "bytes"},
	}
	var text, rows strings.Builder
	expect.NoError(t, Table(&text, results))
	expect.NoError(t, Markdown(&rows, results))
	if lines := strings.Split(text.String(), "\n"); len(lines) != 5 || !slices.Equal(strings.Fields(lines[1]), []string{"sync", "14,299", "32,383", "jobs/s", "0.442", "0.400", "to", "0.500"}) {
		t.Errorf("got\n%s", text.String())
	}
	want := "| benchmark | ours | reference | unit | ratio | spread |\n|---|---|---|---|---|---|\n" +
		"| `sync` | 14,299 | 32,383 | jobs/s | 0.442 | 0.400 to 0.500 |\n" +
		"| `relief/90` | 80.0 | 75.7 | % | 1.06 |  |\n" +
		"| `wal` | 292,000 |  | bytes |  |  |\n"
	if rows.String() != want {
		t.Errorf("got\n%s\nwant\n%s", rows.String(), want)
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for value, want := range map[float64]string{0: "0", 0.0034: "0.00340", 1.724: "1.72", 23.26: "23.3", 999.6: "1,000", 1234567: "1,234,567", -1234: "-1,234"} {
		if got := Short(value); got != want {
			t.Errorf("%v is %s, want %s", value, got, want)
		}
	}
}
