package localrun

import (
	"bytes"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A log is shown line by line, without what is there for a page that folds it, and without
// what a terminal takes for commands.
func TestLogsAreShownByLines(t *testing.T) {
	t.Parallel()
	const log = "section_start:1700000000:prepare\r\x1b[0K\x1b[32;1mgreen\x1b[0;m\n10 %\r20 %\r\n\x1b]0;title\x07a\x1b[2Jb\u009b\x07\tc\n\x1b\x1b[31mlast"
	for colors, want := range map[bool]string{
		false: "job | green\njob | 20 %\njob | ab\tc\njob | last\n",
		true:  "job | \x1b[32;1mgreen\x1b[0;m\njob | 20 %\njob | ab\tc\njob | \x1b[31mlast\n",
	} {
		var out bytes.Buffer
		l := &jobLog{terminal: &terminal{out: &out, colors: colors}, prefix: "job | "}
		for _, piece := range strings.SplitAfter(log, "e") {
			if n, err := l.Write([]byte(piece)); n != len(piece) || err != nil {
				t.Fatal(n, err)
			}
		}
		if err := l.flush(); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("colors %v:\n got %q\nwant %q", colors, out.String(), want)
		}
	}
}

func TestALineWithoutAnEndIsShown(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	l := &jobLog{terminal: &terminal{out: &out}}
	for range 3 {
		if _, err := l.Write(bytes.Repeat([]byte("x"), longestLine/2)); err != nil {
			t.Fatal(err)
		}
	}
	if out.Len() != longestLine+1 {
		t.Errorf("%d bytes are shown", out.Len())
	}
}
