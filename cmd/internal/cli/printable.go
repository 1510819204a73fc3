package cli

import (
	"io"
	"strconv"
	"strings"

	"casq/internal/visible"

	"github.com/spf13/cobra"
)

// Keys, scopes, names of hosts and texts of errors are chosen by others, and a
// terminal takes some characters for commands: one may rename its window, hide
// what was printed before, or let a text be read from right to left. So all that
// a command prints goes through [Out], which lets no such character pass, also
// from the database's own sentences. What stands inside a line goes through
// [Name] or [Line] before, so that it cannot begin a line of its own.

// Out is where a command prints its answer. Characters that no one sees are
// written as \u and their number, which is right in JSON, too; line ends and tabs
// stay.
func Out(cmd *cobra.Command) io.Writer { return printable{cmd.OutOrStdout()} }

// printable is a writer of text. A character must come in one piece.
type printable struct{ out io.Writer }

// Write implements [io.Writer].
func (p printable) Write(text []byte) (int, error) {
	if _, err := io.WriteString(p.out, visible.Text(string(text), "\n\t")); err != nil {
		return 0, err
	}
	return len(text), nil
}

// Line returns a text that fits into a line, such as an error: what ends a line
// is written as \n.
func Line(text string) string { return visible.Text(text, "") }

// Name returns a key, a scope or a name as one word in a line: as it is, or
// quoted when it could be taken for something else.
func Name(name string) string {
	if name == "" || name != strings.TrimSpace(name) || strings.ContainsAny(name, `"\`) || Line(name) != name {
		return strconv.QuoteToGraphic(name)
	}
	return name
}

// Names returns several of them, with commas between them.
func Names(names []string) string {
	shown := make([]string, len(names))
	for i, name := range names {
		shown[i] = Name(name)
	}
	return strings.Join(shown, ", ")
}
