package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
)

// lineInterval is the time between two lines of progress where the stream is no terminal.
const lineInterval = 2 * time.Second

// Progress shows how far long work has come: a bar on a terminal, a line now
// and then elsewhere. Not for concurrent use.
type Progress struct {
	out   io.Writer
	what  string
	total int64
	bar   *progressbar.ProgressBar
	began time.Time
	next  time.Time // of a line
}

// NewProgress starts with nothing done. A total of 0 or less is not known.
func NewProgress(out io.Writer, what string, total int64) *Progress {
	now := time.Now()
	p := &Progress{out: out, what: what, total: total, began: now, next: now.Add(lineInterval)}
	if Terminal(out) {
		if total <= 0 {
			total = -1
		}
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(out),
			progressbar.OptionSetDescription(what),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
		)
	}
	return p
}

// Set says how much is done. It may be more than the total, which others
// change meanwhile.
func (p *Progress) Set(done int64) {
	if p.bar != nil {
		if done > p.total && p.total > 0 {
			p.total = done
			p.bar.ChangeMax64(done)
		}
		_ = p.bar.Set64(done)
		return
	}
	if now := time.Now(); now.After(p.next) {
		p.next = now.Add(lineInterval)
		p.line(done, now.Sub(p.began))
	}
}

// Note says, on a line of its own, what is to be known meanwhile.
func (p *Progress) Note(text string) {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
	fmt.Fprintf(printable{p.out}, "%s: %s\n", p.what, Line(text))
}

// line tells the rate since the beginning, and from that how long the rest takes.
func (p *Progress) line(done int64, took time.Duration) {
	if p.total <= 0 {
		fmt.Fprintf(p.out, "%s: %d, %.0f/s\n", p.what, done, float64(done)/took.Seconds())
		return
	}
	text := fmt.Sprintf("%s: %d of %d", p.what, done, max(done, p.total))
	if done > 0 {
		left := time.Duration(float64(took) * float64(max(0, p.total-done)) / float64(done))
		text += fmt.Sprintf(", %.0f/s, %s left", float64(done)/took.Seconds(), left.Round(time.Second))
	}
	fmt.Fprintln(p.out, text)
}

// Close takes the bar away; what the work came to is for the caller to say.
func (p *Progress) Close() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
