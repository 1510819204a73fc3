package git

import (
	"strings"
	"testing"
)

func TestWhatGitSaidCanBeStored(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", tailSize)
	for said, want := range map[string]string{
		"":                                "",
		"fatal: no\n":                     "fatal: no\n",
		"remote: aborting\x00\x00; \xff":  "remote: aborting; ?",
		"https://u:p\n" + long + "\nlast": "last",
	} {
		kept := &tail{}
		for _, piece := range strings.SplitAfter(said, "x") {
			if _, err := kept.Write([]byte(piece)); err != nil {
				t.Fatal(err)
			}
		}
		if got := kept.String(); got != want {
			t.Errorf("%.40q: got %q, want %q", said, got, want)
		}
	}
}
