package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// What a terminal takes for a command, or nobody sees: an escape sequence, its
// beginning as one character, a deletion, a change of the direction, a tag.
const unseen = "a\x1b]0;owned\x07\u009b2J\x7f\u202eb\U000e0041c"

const unseenEscaped = `a\u001b]0;owned\u0007\u009b2J\u007f\u202eb\udb40\udc41c`

func TestOutLetsNoTerminalCommandPass(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetOut(&out)
	text := "grüße 日本\tnext\n" + unseen + "\xff\n"
	if n, err := Out(cmd).Write([]byte(text)); n != len(text) || err != nil {
		t.Errorf("wrote %d of %d, %v", n, len(text), err)
	}
	if want := "grüße 日本\tnext\n" + unseenEscaped + "\\ufffd\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestOutKeepsJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	cmd := &cobra.Command{}
	cmd.SetOut(&out)
	if err := json.NewEncoder(Out(cmd)).Encode(unseen); err != nil {
		t.Fatal(err)
	}
	var back string
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || back != unseen || strings.ContainsRune(out.String(), '\u009b') {
		t.Errorf("%q became %q, %v", out.String(), back, err)
	}
}

func TestNamesAndLines(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"builds/42/out.zip": "builds/42/out.zip",
		"with blanks, Ω":    "with blanks, Ω",
		"":                  `""`,
		" blank":            `" blank"`,
		`a\nb`:              `"a\\nb"`,
		"a\nb":              `"a\nb"`,
		"a\x1b[2Jb":         `"a\x1b[2Jb"`,
		"\u202etxt.exe":     `"\u202etxt.exe"`,
	} {
		if got := Name(name); got != want {
			t.Errorf("Name(%q) = %s, want %s", name, got, want)
		}
	}
	if got := Names([]string{"7", "", "8"}); got != `7, "", 8` {
		t.Errorf("Names: %s", got)
	}
	if got := Line("a\nb\x1bc"); got != `a\nb\u001bc` {
		t.Errorf("Line: %s", got)
	}
}

func TestLogsHaveNoTerminalCommands(t *testing.T) {
	t.Parallel()
	for _, format := range []string{LogJSON, LogText} {
		var out bytes.Buffer
		log := LogConfig{Format: format}.Logger(&out)
		log.Warn("run failed", "resource_id", unseen, "err", errors.New(unseen))
		if strings.ContainsAny(out.String(), "\x1b\x07\u009b\x7f\u202e\U000e0041") || strings.Count(out.String(), "wned") != 2 {
			t.Errorf("%s: %q", format, out.String())
		}
	}
}

func TestErrorsAreToldWithoutTerminalCommands(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	root := &cobra.Command{Use: "program"}
	root.SetErr(&out)
	report(root, errors.New("no such resource\n"+unseen))
	if want := "program: no such resource\n  " + unseenEscaped + "\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}
