package main

import (
	"casq/cmd/internal/cli"
	"casq/internal/worker"

	"github.com/spf13/cobra"

	// s3:// as the source and target of files, also for everything that speaks S3.
	// Folders and file:// need no driver: transfer reads them itself.
	_ "gocloud.dev/blob/s3blob"
)

func runCommand() *cobra.Command {
	var migrate bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Work until SIGTERM or SIGINT",
		Long: `Run takes on the roles that its environment allows, and logs them in one line:

  ticker     home has tracked tables, or is the log to follow, or has runners
  counters   home has a tracked table with a scope column
  registry   a target is set (ARTIFACT_TARGET_URL, REPOSITORY_TARGET_DIR)
  sync       likewise
  runner     CI runners have an address to ask for builds at (RUNNER_ADDR)
  serve      other sites have an address to fetch files at (SERVE_ADDR)

Databases that cannot be reached are waited for. After SIGTERM it stops within
10 s, hands on its jobs and claims, and exits with 0.`,
		Example: `  export DATABASE_URL=postgres://app@localhost/app
  export ARTIFACT_SOURCE_URL=/srv/primary/artifacts ARTIFACT_TARGET_URL=/srv/second/artifacts
  worker run --migrate`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := readConfig(cli.NewEnv())
			if err != nil {
				return err
			}
			cfg.Logger = cfg.log.Logger(cmd.ErrOrStderr())
			cfg.Migrate = migrate
			cfg.Version = cli.Version(version)
			return worker.Run(cmd.Context(), cfg.Config)
		},
	}
	cmd.Flags().BoolVar(&migrate, "migrate", false, "bring the database at DATABASE_URL up to date first")
	return cmd
}
