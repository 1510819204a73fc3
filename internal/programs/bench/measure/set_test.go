package measure

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"casq/internal/testing/expect"
)

// plays is a benchmark that has one figure.
func plays(name string, byHand bool) Benchmark {
	return Benchmark{Name: name, ByHand: byHand, Run: func(ctx context.Context, b *Bench) ([]Result, error) {
		f, err := b.Rounds(ctx, func(f *Figures) error { f.Add("ours", 1); return nil })
		if err != nil {
			return nil, err
		}
		return []Result{f.Compare(name, "ours", "", "s", "")}, nil
	}}
}

func TestWhatTakesLongRunsOnlyWhenNamed(t *testing.T) {
	t.Parallel()
	set := Set{plays("sync", false), plays("soak", true), plays("copy", false)}
	for name, want := range map[string][]string{"": {"sync", "copy"}, "soak": {"soak (by hand)"}, "copy": {"copy"}} {
		chosen, err := set.Choose(name)
		if err != nil || !slices.Equal(chosen.Names(), want) {
			t.Errorf("%q runs %v, %v", name, chosen.Names(), err)
		}
	}
	if _, err := set.Choose("snyc"); err == nil || !strings.Contains(err.Error(), `"snyc"`) || !strings.Contains(err.Error(), "sync, soak (by hand), copy") {
		t.Errorf("an unknown name is not told the others: %v", err)
	}
}

func TestAllAreMeasuredThoughOneFails(t *testing.T) {
	t.Parallel()
	wrong := errors.New("start the server")
	set := Set{{Name: "bad", Run: func(context.Context, *Bench) ([]Result, error) { return nil, wrong }}, plays("good", false)}
	for _, table := range []bool{false, true} {
		var lines, messages strings.Builder
		err := set.Run(t.Context(), Output{Lines: &lines, Messages: &messages, Table: table})
		if !errors.Is(err, wrong) || !strings.Contains(err.Error(), "bad: ") {
			t.Errorf("the failure is lost: %v", err)
		}
		if json.Valid([]byte(lines.String())) == table || !strings.Contains(lines.String(), "good") || strings.Contains(messages.String(), "good") == table {
			t.Errorf("table %t: got %q, %q", table, lines.String(), messages.String())
		}
	}
}

func TestProgressIsTold(t *testing.T) {
	t.Parallel()
	var lines, messages, terminal strings.Builder
	expect.NoError(t, Set{plays("sync", false)}.Run(t.Context(), Output{Lines: &lines, Messages: &messages, Terminal: &terminal}))
	if got := terminal.String(); !strings.Contains(got, "sync, 0 s: round 5 of 5") || !strings.HasSuffix(got, "\r\x1b[K") {
		t.Errorf("got %q", got)
	}
}
