package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"casq/cmd/internal/cli"
	"casq/internal/doctor"

	"github.com/spf13/cobra"
)

// errDoctor is what the command ends with when something is wrong: each is told above.
var errDoctor = errors.New("not everything that a worker needs is there")

// subjects says which variables a subject of the doctor's is about.
var subjects = map[string]string{
	doctor.Home:         "DATABASE_URL",
	doctor.Source:       "SOURCE_DATABASE_URL",
	doctor.Report:       "SOURCE_REPORT_URL",
	doctor.Standby:      "REPLICA_DATABASE_URLS",
	doctor.Redis:        "REDIS_URL",
	doctor.Files:        "ARTIFACT_SOURCE_URL, ARTIFACT_TARGET_URL",
	doctor.Repositories: "REPOSITORY_SOURCE_URL, REPOSITORY_TARGET_DIR",
	doctor.Runners:      "RUNNER_ADDR",
	doctor.Serve:        "SERVE_ADDR",
}

func doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [--json]",
		Short: "Look at what a worker with this environment needs",
		Long: `Doctor looks, from this machine and with this environment, at all that worker run
needs: the environment itself, the databases (versions, schema, permissions, clocks,
replication), Redis, the sources and targets, git. It changes nothing.

Each line is ok, a warning, an error, or was not checked, and why. Below a warning or an
error stands what to do. The exit code is 1 when there is an error; warnings do not count.`,
		Example: `  worker doctor
  worker doctor --json | jq '.[] | select(.result == "error")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings := examine(cmd)
			if err := printFindings(cli.Out(cmd), findings, asJSON); err != nil {
				return err
			}
			if slices.ContainsFunc(findings, doctor.Finding.Failed) {
				return errDoctor
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the findings as a list in JSON")
	return cmd
}

// examine looks at the environment, and, if that can be read, at all that it names.
func examine(cmd *cobra.Command) []doctor.Finding {
	env := cli.NewEnv()
	cfg, err := readConfig(env)
	var findings []doctor.Finding
	for _, warning := range env.Warnings() {
		findings = append(findings, doctor.Finding{Subject: "environment", Check: "files", Result: doctor.Warning, Found: warning})
	}
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			findings = append(findings, doctor.Finding{
				Subject: "environment", Check: "variables", Result: doctor.Error, Found: strings.TrimSpace(line), Mend: "docs/configuration.md has what it may be",
			})
		}
		return append(findings, doctor.Finding{
			Subject: "everything else", Check: "all", Result: doctor.NotChecked, Found: "the environment is to be mended first",
		})
	}
	findings = append(findings, doctor.Finding{Subject: "environment", Check: "variables", Result: doctor.OK, Found: "can be read"})
	return append(findings, doctor.Look(cmd.Context(), cfg.Config)...)
}

func printFindings(out io.Writer, findings []doctor.Finding, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(findings)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	last := ""
	for _, f := range findings {
		if f.Subject != last {
			fmt.Fprintf(table, "%s\n", titleOf(f.Subject))
			last = f.Subject
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", f.Result, f.Check, cli.Line(f.Found))
		if f.Mend != "" {
			fmt.Fprintf(table, "  \t\t-> %s\n", cli.Line(f.Mend))
		}
	}
	return table.Flush()
}

// titleOf is a subject with its variables.
func titleOf(subject string) string {
	name := subject
	if word, _, numbered := strings.Cut(subject, " "); numbered && word == doctor.Standby {
		name = word
	}
	if variables := subjects[name]; variables != "" {
		return subject + " (" + variables + ")"
	}
	return subject
}
