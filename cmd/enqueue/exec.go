package main

import (
	"bufio"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path"
	"regexp"
	"strings"
	"syscall"

	"casq/cmd/internal/cli"
	"casq/internal/cifile"
	"casq/internal/localrun"

	"github.com/spf13/cobra"
)

// execFlags is what enqueue exec is told.
type execFlags struct {
	dir, file, runner, executor string
	alone                       bool
	concurrent                  int
	variables                   []string
	envFiles                    []string
}

func execCommand() *cobra.Command {
	var f execFlags
	cmd := &cobra.Command{
		Use:   "exec [JOB...]",
		Short: "Run the jobs of .gitlab-ci.yml here, with gitlab-runner",
		Long: `Exec runs the jobs of the .gitlab-ci.yml in this folder, or those named and what they
wait for, with the gitlab-runner that is installed on this machine. It needs no
DATABASE_URL: a private Postgres is there for the run, and nothing is left of it.

Each job gets a fresh clone of the working tree as it is: with what is not committed,
and with new files that git does not ignore. A folder that is no repository will do.
Submodules are empty, and files of git-lfs are their pointers.

Jobs go by stages, needs, rules, only and except, as on a branch that was pushed;
variables change that: --variable CI_PIPELINE_SOURCE=merge_request_event. A manual job
runs when it is named. Values of --env-file are masked in logs from 8 characters on,
those of --variable are not.

A key that is not supported is refused with its line. Left out are, among others:
trigger, environment, release, pages, secrets, id_tokens, resource_group, hooks,
when: delayed, rules:changes, artifacts:reports:dotenv, needs of other pipelines, and
include of anything but files of this folder. docs/exec.md has the whole list.

The first Ctrl-C cancels jobs, which run their after_script; a silent one hears of it
within 30 s. The second ends all at once. The exit code is 1 when a job fails that may
not.`,
		Example: `  enqueue exec
  enqueue exec test lint --concurrent 2
  enqueue exec deploy --alone --env-file .env.ci --variable TARGET=staging`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, jobs []string) error {
			cfg, err := f.config(cmd, jobs)
			if err != nil {
				return err
			}
			abort, stop := second()
			defer stop()
			cfg.Abort = abort
			return localrun.Run(cmd.Context(), cfg)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dir, "dir", ".", "the folder")
	flags.StringVar(&f.file, "file", ".gitlab-ci.yml", "the CI file, by its path in the folder")
	flags.StringVar(&f.runner, "runner", "gitlab-runner", "the runner's program")
	flags.StringVar(&f.executor, "executor", "shell", "shell, or docker for jobs in containers (not tested)")
	flags.BoolVar(&f.alone, "alone", false, "leave out what the named jobs wait for")
	flags.IntVar(&f.concurrent, "concurrent", 4, "how many jobs run at once")
	flags.StringArrayVar(&f.variables, "variable", nil, "KEY=VALUE, over the file's; may be repeated")
	flags.StringArrayVar(&f.envFiles, "env-file", nil, "a file with such lines; may be repeated")
	return cmd
}

// second is closed with the second signal of those that end a command's context; from then
// on another one ends the process.
func second() (abort <-chan struct{}, stop func()) {
	signals, aborted, done := make(chan os.Signal, 2), make(chan struct{}), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer signal.Stop(signals)
		for range 2 {
			select {
			case <-signals:
			case <-done:
				return
			}
		}
		close(aborted)
	}()
	return aborted, func() { close(done) }
}

// passed is what git, the runner and its jobs have of this process' environment. The rest
// is nobody's: a job gets variables by the file and by flags.
var passed = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME", "DOCKER_HOST",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
}

func (f *execFlags) config(cmd *cobra.Command, jobs []string) (cfg localrun.Config, err error) {
	env := cli.NewEnv()
	level := env.Level("LOG_LEVEL")
	cfg = localrun.Config{
		Dir: f.dir, File: path.Clean(f.file), Jobs: jobs, Alone: f.alone, Runner: f.runner, Executor: localrun.Executor(f.executor),
		Concurrent: f.concurrent, Environment: env.Pass(passed...), Out: cmd.OutOrStdout(), Colors: cli.Terminal(cmd.OutOrStdout()),
		Logger: cli.LogConfig{Format: env.Choice("LOG_FORMAT", cli.LogText, cli.LogJSON), Level: max(level, slog.LevelWarn)}.Logger(cmd.ErrOrStderr()),
	}
	switch {
	case env.Err() != nil:
		return cfg, env.Err()
	case !fs.ValidPath(cfg.File):
		return cfg, cli.Usage(cmd, "--file is %q: it may be a path in the folder", f.file)
	case cfg.Executor != localrun.Shell && cfg.Executor != localrun.Docker:
		return cfg, cli.Usage(cmd, "--executor is %q: it may be shell or docker", f.executor)
	case f.concurrent < 1 || f.concurrent > 100:
		return cfg, cli.Usage(cmd, "--concurrent is %d: it may be from 1 to 100", f.concurrent)
	case f.alone && len(jobs) == 0:
		return cfg, cli.Usage(cmd, "--alone is for jobs that are named")
	}
	for _, name := range f.envFiles {
		if err := readEnvFile(name, &cfg); err != nil {
			return cfg, err
		}
	}
	for _, text := range f.variables {
		v, err := givenVariable(text)
		if err != nil {
			return cfg, cli.Usage(cmd, "--variable: %w", err)
		}
		cfg.Variables = append(cfg.Variables, v)
	}
	return cfg, nil
}

var variableName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// givenVariable reads KEY=VALUE. The value is taken as it is.
func givenVariable(text string) (cifile.Variable, error) {
	key, value, is := strings.Cut(text, "=")
	if !is || !variableName.MatchString(key) {
		return cifile.Variable{}, fmt.Errorf("%q is no variable: it may be KEY=VALUE, with letters, digits and _ in KEY", key)
	}
	return cifile.Variable{Key: key, Value: value, Raw: true}, nil
}

// leastMasked is how long a value has to be: a shorter one is in many words.
const leastMasked = 8

// readEnvFile reads lines of KEY=VALUE, but for those that are empty or begin with #.
func readEnvFile(name string, cfg *localrun.Config) error {
	file, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("read --env-file: %w", err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		v, err := givenVariable(line)
		if err != nil {
			return fmt.Errorf("read --env-file: %s:%d is no KEY=VALUE", name, n) // the line may be a secret
		}
		v.Masked = len(v.Value) >= leastMasked
		cfg.Variables = append(cfg.Variables, v)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read --env-file: %w", err)
	}
	return nil
}
