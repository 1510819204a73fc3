// Package scripttest tests the programs as a user meets them: scripts in txtar
// files that start them, stop them, and look at what they print and leave.
//
// Beside the commands of testscript a script has:
//
//	exits CODE program args...  run it, and want that exit code
//	database VAR [empty]        put the URL of a new database of the script's own
//	                            into VAR, migrated unless empty
//	database VAR role VAR       the same, and a new ordinary role's URL of it into
//	                            the second, and its name into ROLE
//	sql VAR 'statement'         run it there, and print its rows
//	await-sql VAR 'query'       wait until the query's only value is true
//	await FILE 'regexp'         wait until the file matches
//	await-http LOG PATH CODE ['regexp']
//	                            ask the worker that logs into LOG until it answers
//	                            with CODE and a body that matches; print the body
//	sigterm                     send SIGTERM to all commands in the background, and
//	                            want them to end within 10 s; wait has their exit
//	                            codes
//
// Waiting for anything else ends with an error after half a minute.
package scripttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"casq/internal/testing/testdb"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"
)

const (
	// timeout is for one command that waits.
	timeout = 30 * time.Second
	// stopTimeout is what all programs promise.
	stopTimeout = 10 * time.Second
)

type testKey struct{}

// Run runs the scripts in a folder, each as a test of its own, in parallel.
// Setup, which may be nil, adds to a script's environment.
func Run(t *testing.T, dir string, setup func(tb testing.TB, env *testscript.Env)) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			tb, ok := env.T().(testing.TB)
			if !ok {
				return errors.New("the script's test is none of package testing")
			}
			env.Values[testKey{}] = tb
			// The race detector waits a second at each exit otherwise.
			env.Setenv("GORACE", "atexit_sleep_ms=10")
			if setup != nil {
				setup(tb, env)
			}
			// Servers may run as another user.
			return os.Chmod(filepath.Dir(env.WorkDir), 0o711)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits":      plain(exits),
			"database":   plain(database),
			"sql":        sql,
			"await-sql":  plain(awaitSQL),
			"await":      plain(await),
			"await-http": plain(awaitHTTP),
			"sigterm":    plain(sigterm),
		},
	})
}

// plain makes a command of a function that cannot be negated.
func plain(f func(ts *testscript.TestScript, args []string) error) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("this command cannot be negated")
		}
		ts.Check(f(ts, args))
	}
}

func arguments(args []string, want int) error {
	if len(args) != want {
		return fmt.Errorf("got %d arguments, want %d", len(args), want)
	}
	return nil
}

// exits runs a program to its end; exec knows success and failure only.
func exits(ts *testscript.TestScript, args []string) error {
	if len(args) < 2 {
		return errors.New("usage: exits CODE program args")
	}
	limit := strconv.Itoa(int(timeout.Seconds()))
	err := ts.Exec("timeout", append([]string{"--signal=KILL", limit}, args[1:]...)...)
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		return err
	}
	if got := strconv.Itoa(code); got != args[0] {
		return fmt.Errorf("exit code %s, want %s", got, args[0])
	}
	return nil
}

func database(ts *testscript.TestScript, args []string) error {
	tb, ok := ts.Value(testKey{}).(testing.TB)
	if !ok {
		return errors.New("the script has no test")
	}
	switch {
	case len(args) == 1:
		ts.Setenv(args[0], testdb.New(tb).URL)
	case len(args) == 2 && args[1] == "empty":
		ts.Setenv(args[0], testdb.Empty(tb).URL)
	case len(args) == 3 && args[1] == "role":
		db := testdb.New(tb)
		url := db.RoleURL(tb)
		ts.Setenv(args[0], db.URL)
		ts.Setenv(args[2], url)
		ts.Setenv("ROLE", testdb.RoleName(tb, url))
	default:
		return errors.New("usage: database VAR [empty | role VAR]")
	}
	return nil
}

func sql(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(arguments(args, 2))
	err := query(ts.Getenv(args[0]), args[1], ts.Stdout())
	if neg && err != nil {
		fmt.Fprintln(ts.Stderr(), err)
		return
	}
	if neg {
		ts.Fatalf("the statement succeeded")
	}
	ts.Check(err)
}

// query prints the rows, their values with tabs between them.
func query(url, statement string, out io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	results, err := conn.PgConn().Exec(ctx, statement).ReadAll()
	for _, result := range results {
		for _, row := range result.Rows {
			values := make([]string, len(row))
			for i, value := range row {
				values[i] = string(value)
			}
			fmt.Fprintln(out, strings.Join(values, "\t"))
		}
	}
	return err
}

func awaitSQL(ts *testscript.TestScript, args []string) error {
	if err := arguments(args, 2); err != nil {
		return err
	}
	return poll(func() (bool, error) {
		var out strings.Builder
		err := query(ts.Getenv(args[0]), args[1], &out)
		return strings.TrimSpace(out.String()) == "t", err
	})
}

func await(ts *testscript.TestScript, args []string) error {
	if err := arguments(args, 2); err != nil {
		return err
	}
	want, err := regexp.Compile("(?m)" + args[1])
	if err != nil {
		return err
	}
	var content []byte
	err = poll(func() (bool, error) {
		content, err = os.ReadFile(ts.MkAbs(args[0]))
		return want.Match(content), nil
	})
	if err != nil {
		return fmt.Errorf("%w; the file has:\n%s", err, content)
	}
	return nil
}

var listening = regexp.MustCompile(`"msg":"listening","addr":"([^"]+)"`)

func awaitHTTP(ts *testscript.TestScript, args []string) error {
	if len(args) == 3 {
		args = append(args, "")
	}
	if err := arguments(args, 4); err != nil {
		return err
	}
	want, err := regexp.Compile(args[3])
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: timeout}
	defer client.CloseIdleConnections()
	var last, body string
	err = poll(func() (bool, error) {
		log, err := os.ReadFile(ts.MkAbs(args[0]))
		match := listening.FindSubmatch(log)
		if err != nil || match == nil {
			last = "none: nobody listens"
			return false, nil //nolint:nilerr // the log comes with the worker
		}
		last, body = ask(client, "http://"+string(match[1])+args[1])
		return strings.HasPrefix(last, args[2]+" ") && want.MatchString(body), nil
	})
	if err != nil {
		return fmt.Errorf("%w; the last answer was %s %s", err, last, body)
	}
	_, err = io.WriteString(ts.Stdout(), body)
	return err
}

// ask returns the answer's status, or why there is none.
func ask(client *http.Client, url string) (status, body string) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return err.Error(), ""
	}
	response, err := client.Do(request)
	if err != nil {
		return err.Error(), ""
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error(), ""
	}
	return response.Status, string(content)
}

func sigterm(ts *testscript.TestScript, args []string) error {
	if err := arguments(args, 0); err != nil {
		return err
	}
	for _, cmd := range ts.BackgroundCmds() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
	}
	for _, cmd := range ts.BackgroundCmds() {
		err := pollFor(stopTimeout, func() (bool, error) {
			return errors.Is(syscall.Kill(cmd.Process.Pid, 0), syscall.ESRCH), nil
		})
		if err != nil {
			return fmt.Errorf("stop %v: %w", cmd.Args, err)
		}
	}
	return nil
}

// poll waits until done is true.
func poll(done func() (bool, error)) error { return pollFor(timeout, done) }

func pollFor(limit time.Duration, done func() (bool, error)) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("waited for %s in vain", limit)
		}
	}
}
