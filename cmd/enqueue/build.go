package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"casq/cmd/internal/cli"
	"casq/internal/pause"
	"casq/internal/queries"

	"github.com/spf13/cobra"
)

//go:embed builds.sql
var buildsText string

// buildsSQL has the statements of builds.sql.
var buildsSQL = queries.Parse[struct {
	AddBuild, Build, Builds, CreateRunner, Runners, PauseRunner, DeleteRunner string
}]("enqueue/builds", buildsText)

// newBuild is what enqueue build is told.
type newBuild struct {
	project   int64
	name      string
	tags      []string
	scripts   []string
	image     string
	artifacts []string
	needs     []int64
	priority  int
	timeout   time.Duration
	file      string
	wait      bool
}

func buildCommand() *cobra.Command {
	var b newBuild
	cmd := &cobra.Command{
		Use:   "build (--project P | --needs ID...) (--script S... | --file job.json)",
		Short: "Queue a build for CI runners",
		Long: `Build queues a job for a runner that has all its tags; without tags, for one that
takes builds without. It makes a pipeline of the project with this one build; with
--needs it adds to that of the builds that it needs, and gets their artifacts.

With --file the job is a JSON object in the words of GitLab Runner's API: steps,
variables, artifacts, cache, image, services, git_info.`,
		Example: `  enqueue build --project 7 --tag linux --script 'make test' --artifact dist/
  enqueue build --needs 12 --name deploy --script ./deploy.sh
  enqueue build --project 7 --file job.json --wait
  enqueue build cancel 12`,
		Args: cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.Int64Var(&b.project, "project", 0, "the project's number, above 0")
	flags.StringVar(&b.name, "name", "build", "the build's name")
	flags.StringArrayVar(&b.tags, "tag", nil, "a tag that the runner must have; may be repeated")
	flags.StringArrayVar(&b.scripts, "script", nil, "a line of the script; may be repeated")
	flags.StringVar(&b.image, "image", "", "the container image, for runners that use one")
	flags.StringArrayVar(&b.artifacts, "artifact", nil, "a path to keep when it succeeds; may be repeated")
	flags.Int64SliceVar(&b.needs, "needs", nil, "a build that has to succeed first; may be repeated")
	flags.IntVar(&b.priority, "priority", 0, "higher comes first")
	flags.BoolVar(&b.wait, "wait", false, "return when it has ended, with exit code 1 unless it has succeeded")
	flags.StringVar(&b.file, "file", "", "a file with the job")
	b.timeout = time.Hour
	cli.DurationVar(cmd, &b.timeout, "timeout", "how long it may run")
	addJSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := b.check(cmd); err != nil {
			return err
		}
		job, err := b.job()
		if err != nil {
			return err
		}
		return withHome(cmd, func(ctx context.Context, h *home) error { return h.build(ctx, cmd, b, job) })
	}
	cmd.AddCommand(
		buildChangeCommand("cancel", "Cancel a build", `Cancel ends a build that waits. The runner of one that runs is told to stop it; until
then it is canceling.`, "SELECT casq.cancel_build($1)"),
		buildChangeCommand("retry", "Queue a build anew that has ended", `Retry queues a build anew that has ended, and those that were skipped for it.`,
			"SELECT casq.retry_build($1)"))
	return cmd
}

func (b *newBuild) check(cmd *cobra.Command) error {
	switch {
	case cmd.Flags().Changed("project") == (len(b.needs) > 0):
		return cli.Usage(cmd, "want one of --project, the project's number, and --needs, a build of its pipeline")
	case len(b.needs) == 0 && b.project <= 0:
		return cli.Usage(cmd, "--project is %d: it may be a number above 0", b.project)
	case (len(b.scripts) > 0) == (b.file != ""):
		return cli.Usage(cmd, "want one of --script and --file")
	case b.file != "" && (b.image != "" || len(b.artifacts) > 0):
		return cli.Usage(cmd, "--image and --artifact are for --script: with --file they stand in the file")
	case b.timeout < time.Second || b.timeout > 30*24*time.Hour:
		return cli.Usage(cmd, "--timeout may be from 1s to 30d")
	}
	return nil
}

// job is what the runner gets.
func (b *newBuild) job() (json.RawMessage, error) {
	if b.file != "" {
		text, err := os.ReadFile(b.file)
		if err != nil {
			return nil, fmt.Errorf("read the job: %w", err)
		}
		if !json.Valid(text) {
			return nil, fmt.Errorf("read the job: %s is not JSON", b.file)
		}
		return text, nil
	}
	job := map[string]any{"steps": []map[string]any{{"name": "script", "script": b.scripts}}}
	if b.image != "" {
		job["image"] = map[string]string{"name": b.image}
	}
	if len(b.artifacts) > 0 {
		job["artifacts"] = []map[string]any{{"paths": b.artifacts}}
	}
	return json.Marshal(job)
}

func (h *home) build(ctx context.Context, cmd *cobra.Command, b newBuild, job json.RawMessage) error {
	if b.tags == nil {
		b.tags = []string{}
	}
	if b.needs == nil {
		b.needs = []int64{}
	}
	if len(b.needs) > 0 {
		first, err := h.readBuild(ctx, b.needs[0])
		if err != nil {
			return fmt.Errorf("queue a build that needs others: %w", err)
		}
		b.project = first.Project
	}
	var id int64
	err := h.QueryRow(ctx, buildsSQL.AddBuild, b.project, b.name, job, b.tags, b.needs, b.priority, int(b.timeout/time.Second)).Scan(&id)
	if err != nil {
		return fmt.Errorf("queue a build: %w", err)
	}
	if !b.wait {
		return h.tellBuild(ctx, cmd, id)
	}
	for {
		now, err := h.readBuild(ctx, id)
		switch {
		case err != nil:
			return err
		case now.FinishedAt == nil:
			if err := pause.For(ctx, pollInterval); err != nil {
				return fmt.Errorf("wait for build %d: %w", id, err)
			}
		case now.Status != "success":
			return errors.Join(answer(cmd, now, now.line()), fmt.Errorf("build %d is %s", id, now.Status))
		default:
			return answer(cmd, now, now.line())
		}
	}
}

func buildChangeCommand(use, short, long, change string) *cobra.Command {
	cmd := &cobra.Command{
		Use: use + " ID", Short: short, Long: long, Example: "  enqueue build " + use + " 12", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number(cmd, "a build", args[0])
			if err != nil {
				return err
			}
			return withHome(cmd, func(ctx context.Context, h *home) error {
				if _, err := h.Exec(ctx, change, id); err != nil {
					return fmt.Errorf("%s build %d: %w", use, id, err)
				}
				return h.tellBuild(ctx, cmd, id)
			})
		},
	}
	addJSON(cmd)
	return cmd
}

// number reads the number of a build or runner.
func number(cmd *cobra.Command, of, text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, cli.Usage(cmd, "%q is no number of %s: it may be a number above 0", text, of)
	}
	return n, nil
}
