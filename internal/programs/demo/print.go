package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// ErrDifferent is returned when the two sites are not equal, or something was
// not only read. The differences were printed.
var ErrDifferent = errors.New("the demo ended with differences")

// plainEvery is how often progress is printed where there is no terminal.
const plainEvery = 2 * time.Second

// printer writes what people read. Bars are drawn below what was printed
// before, and drawn over by what comes next.
//
// mu guards the rest.
type printer struct {
	terminal bool
	began    time.Time

	mu     sync.Mutex
	out    io.Writer
	drawn  int // lines of bars above the cursor
	plain  time.Time
	latest []bar
}

func newPrinter(out io.Writer, terminal bool) *printer {
	return &printer{out: out, terminal: terminal, began: time.Now()}
}

// bar is the progress of one kind.
type bar struct {
	kind       string
	done, know int
}

// line prints a line above the bars.
func (p *printer) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	fmt.Fprintf(p.out, format+"\n", args...)
}

// erase removes the bars. The caller has the mutex.
func (p *printer) erase() {
	if p.drawn > 0 {
		fmt.Fprintf(p.out, "\x1b[%dA\x1b[J", p.drawn)
		p.drawn = 0
	}
}

// progress draws the bars; where there is no terminal, a line now and then.
func (p *printer) progress(bars []bar) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latest = bars
	if p.terminal {
		p.erase()
		p.draw()
		return
	}
	if time.Since(p.plain) >= plainEvery {
		p.plain = time.Now()
		p.print()
	}
}

// endProgress leaves the last state on the screen.
func (p *printer) endProgress() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		p.drawn = 0
	} else {
		p.print()
	}
}

func (p *printer) draw() {
	for _, b := range p.latest {
		fmt.Fprintln(p.out, b)
		p.drawn++
	}
}

func (p *printer) print() {
	var parts []string
	for _, b := range p.latest {
		parts = append(parts, fmt.Sprintf("%s %d of %d", plural(b.kind), b.done, b.know))
	}
	fmt.Fprintf(p.out, "%6.1f s    %s\n", time.Since(p.began).Seconds(), strings.Join(parts, ", "))
}

// String draws a bar.
func (b bar) String() string {
	drawn := progressbar.NewOptions(max(b.know, 1),
		progressbar.OptionSetWriter(io.Discard),
		progressbar.OptionSetDescription(fmt.Sprintf("%-12s", plural(b.kind))),
		progressbar.OptionSetWidth(30),
		progressbar.OptionShowCount(),
		progressbar.OptionSetPredictTime(false),
		progressbar.OptionSetElapsedTime(false),
	)
	if err := drawn.Set(b.done); err != nil {
		return fmt.Sprintf("%-12s %d of %d", plural(b.kind), b.done, b.know)
	}
	return strings.Trim(drawn.String(), "\r\n")
}

func plural(kind string) string {
	if stem, ok := strings.CutSuffix(kind, "y"); ok {
		return stem + "ies"
	}
	return kind + "s"
}

// differences prints the first of them and returns ErrDifferent if there are
// any.
func (p *printer) differences(all []string) error {
	const shown = 30
	if len(all) == 0 {
		return nil
	}
	for _, difference := range all[:min(shown, len(all))] {
		p.line("DIFFERENT   %s", difference)
	}
	if len(all) > shown {
		p.line("DIFFERENT   ... and %d more", len(all)-shown)
	}
	return fmt.Errorf("%w: %d", ErrDifferent, len(all))
}

// thousands writes 1234567 as 1,234,567.
func thousands[T int | int64](n T) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func bytesText(n int64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n), 0
	for value >= unit && prefix < 4 {
		value, prefix = value/unit, prefix+1
	}
	return fmt.Sprintf("%.1f %sB", value, []string{"", "k", "M", "G", "T"}[prefix])
}
