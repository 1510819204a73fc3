package localrun

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"sync"
)

// terminal is where the logs of jobs are shown, line by line.
//
// mu guards out.
type terminal struct {
	colors bool

	mu  sync.Mutex
	out io.Writer
}

func (t *terminal) print(text []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.out.Write(text)
	return err
}

func (t *terminal) say(format string, args ...any) {
	_ = t.print(clean(fmt.Appendf(nil, format, args...), false)) // whoever went away does not read it
	_ = t.print([]byte("\n"))
}

// jobLog shows the log of a job, each line behind the job's name.
type jobLog struct {
	*terminal
	prefix  string
	pending []byte
}

// longestLine is how much of a line is kept until its end has come.
const longestLine = 64 << 10

// Write implements [io.Writer].
func (l *jobLog) Write(text []byte) (int, error) {
	l.pending = append(l.pending, text...)
	var lines bytes.Buffer
	for {
		end := bytes.IndexByte(l.pending, '\n')
		if end < 0 && len(l.pending) < longestLine {
			break
		}
		if end < 0 {
			end = len(l.pending) - 1
		}
		l.line(&lines, l.pending[:end+1])
		l.pending = l.pending[end+1:]
	}
	if lines.Len() == 0 {
		return len(text), nil
	}
	return len(text), l.print(lines.Bytes())
}

// flush shows a last line that has no end.
func (l *jobLog) flush() error {
	if len(l.pending) == 0 {
		return nil
	}
	var lines bytes.Buffer
	l.line(&lines, l.pending)
	l.pending = nil
	return l.print(lines.Bytes())
}

// section is what a runner writes for a page that folds its parts.
var section = regexp.MustCompile(`section_(?:start|end):\d+:[^\r\n]*\r\x1b\[0K`)

func (l *jobLog) line(into *bytes.Buffer, line []byte) {
	line = section.ReplaceAll(bytes.TrimRight(line, "\r\n"), nil)
	if at := bytes.LastIndexByte(line, '\r'); at >= 0 {
		line = line[at+1:] // what was written over
	}
	into.WriteString(l.prefix)
	into.Write(clean(line, l.colors))
	into.WriteByte('\n')
}

var (
	color    = regexp.MustCompile(`^\x1b\[[0-9;]*m$`)
	sequence = regexp.MustCompile(`\x1b(?:\[[^A-Za-z@]{0,40}[A-Za-z@]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[A-Z\\^_=>])`)
)

// clean takes what a terminal takes for commands out of a line, but for colors.
func clean(line []byte, colors bool) []byte {
	var cleaned []byte
	for len(line) > 0 {
		plain := line
		found := sequence.FindIndex(line)
		if found != nil {
			plain = line[:found[0]]
		}
		cleaned = append(cleaned, bytes.Map(graphic, plain)...)
		if found == nil {
			break
		}
		if colors && color.Match(line[found[0]:found[1]]) {
			cleaned = append(cleaned, line[found[0]:found[1]]...)
		}
		line = line[found[1]:]
	}
	return cleaned
}

// graphic drops control characters.
func graphic(r rune) rune {
	if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 {
		return -1
	}
	return r
}
