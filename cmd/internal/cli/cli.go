// Package cli is what the programs have in common: exit codes, how errors are
// told, the environment, the logger, and progress.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"casq/internal/database"
	"casq/migrations"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The exit codes of all programs.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
	exitUnfit = 3
)

// Run executes a program with the process's arguments and returns its exit
// code: 0, 2 after a wrong command line, 3 where a database's schema and this program do
// not fit, 1 after any other error. SIGINT and
// SIGTERM end the command's context; a second one ends the process.
func Run(root *cobra.Command) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	prepare(root)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = fmt.Errorf("interrupted: %w", err)
	}
	return report(root, err)
}

// report tells the error, each line of a joined one below the other.
func report(root *cobra.Command, err error) int {
	out := printable{root.ErrOrStderr()}
	text := strings.ReplaceAll(database.Explain(err), "\n", "\n  ")
	fmt.Fprintf(out, "%s: %s\n", root.Name(), text)
	if migrations.Unfit(err) {
		return exitUnfit
	}
	if coded, ok := errors.AsType[*codedError](err); ok {
		return coded.code
	}
	var usage *usageError
	if !errors.As(err, &usage) {
		return exitError
	}
	path := root.CommandPath()
	if usage.cmd != nil {
		path = usage.cmd.CommandPath()
	}
	fmt.Fprintf(out, "Run %s --help for what it takes.\n", path)
	return exitUsage
}

// codedError is one that has an exit code of its own.
type codedError struct {
	error
	code int
}

// Unwrap gives the cause.
func (e *codedError) Unwrap() error { return e.error }

// WithCode returns an error that makes the program exit with a code of its own.
func WithCode(err error, code int) error { return &codedError{err, code} }

// usageError is the caller's mistake on the command line of cmd.
type usageError struct {
	cmd *cobra.Command
	err error
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// Usage returns an error that makes the program exit with 2.
func Usage(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{cmd, fmt.Errorf(format, args...)}
}

// prepare makes a command and those below it tell all mistakes as usage errors
// that name what is known.
func prepare(cmd *cobra.Command) {
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if invalid, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
			return Usage(cmd, "--%s is %q: it may be %s", invalid.GetFlag().Name, invalid.GetValue(), mayBe(invalid.GetFlag()))
		}
		return Usage(cmd, "%w; known flags: %s", err, strings.Join(flags(cmd), ", "))
	})
	if cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.Args = cobra.ArbitraryArgs
		cmd.RunE = chooseCommand
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return Usage(cmd, "%w; want %s", err, cmd.UseLine())
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		prepare(sub)
	}
}

// chooseCommand is what a command does that only has others below it.
func chooseCommand(cmd *cobra.Command, args []string) error {
	var known []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			known = append(known, sub.Name())
		}
	}
	list := strings.Join(known, ", ")
	if len(args) == 0 {
		return Usage(cmd, "%s needs a command: %s", cmd.CommandPath(), list)
	}
	return Usage(cmd, "unknown command %q; known: %s", args[0], list)
}

// mayBe says what the value of a flag may be.
func mayBe(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "duration":
		return "a duration, such as 30s, 1h30m or 30d"
	case "bool":
		return "true or false"
	case "int", "int32", "int64":
		return "a whole number"
	default:
		return "a " + f.Value.Type()
	}
}

func flags(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, "--"+f.Name) })
	slices.Sort(names)
	return names
}

// VersionText is the program's version, and that of the schema that it makes.
func VersionText(linked string) string {
	return fmt.Sprintf("%s (schema %d)", Version(linked), migrations.Latest())
}

// Version returns what was set when the program was linked, or else what Go
// recorded when it was built.
func Version(linked string) string {
	if linked != "" {
		return linked
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (version == "" || version == "(devel)") {
			version = s.Value
		}
	}
	return version
}

// file returns the file behind a stream, or nil.
func file(stream any) *os.File {
	f, _ := stream.(*os.File)
	return f
}

// Terminal tells whether what is written to the stream is seen on a terminal.
func Terminal(stream io.Writer) bool {
	f := file(stream)
	return f != nil && isTerminal(f)
}

// ReadsTerminal tells whether what is read from the stream is typed at a terminal.
func ReadsTerminal(stream io.Reader) bool {
	f := file(stream)
	return f != nil && isTerminal(f)
}
