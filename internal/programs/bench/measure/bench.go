// Package measure has what benchmarks do alike: rounds, in each of which ours and the
// reference take their turn, their medians, the spread of their ratio, and how it is told.
package measure

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Rounds are so many that a median is not moved by two that were disturbed.
const Rounds = 5

// Bench is a benchmark that runs.
type Bench struct {
	name     string
	terminal io.Writer // nil for none
	began    time.Time
}

// Rounds plays [Rounds] rounds. In each of them ours and the reference take their turn.
func (b *Bench) Rounds(ctx context.Context, round func(*Figures) error) (*Figures, error) {
	f := &Figures{}
	for i := range Rounds {
		b.Say("round %d of %d", i+1, Rounds)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		f.next()
		if err := round(f); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Say replaces, on a terminal, what was said last of how far the benchmark is.
func (b *Bench) Say(format string, args ...any) {
	if b.terminal != nil {
		fmt.Fprintf(b.terminal, "\r\x1b[K%s, %.0f s: %s", b.name, time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
	}
}

func (b *Bench) clear() {
	if b.terminal != nil {
		fmt.Fprint(b.terminal, "\r\x1b[K")
	}
}
