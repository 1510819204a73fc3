package main

import (
	"casq/cmd/internal/cli"
	"casq/internal/dev"

	"github.com/spf13/cobra"
)

func devCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Start a private Postgres, its standby and Redis, to develop with",
		Long: `Dev starts a private Postgres with one streaming standby and a private Redis, on
free ports of 127.0.0.1, from the programs it finds on this machine. It makes a
database casq, migrates it, tells how to connect, and runs until SIGINT or
SIGTERM.

The data stay in a folder, and a later start on the same folder finds them there,
at the same ports. The exports that it prints are in the folder's file env, too,
while it runs. To begin anew, remove the folder.`,
		Example: `  worker dev
  . .casq-dev/env && worker run     # in another terminal`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			env := cli.NewEnv()
			log := readLogConfig(env)
			if err := env.Err(); err != nil {
				return err
			}
			if dir == "" {
				return cli.Usage(cmd, "--dir is empty: it may be any new or empty folder")
			}
			return dev.Run(cmd.Context(), dev.Config{
				Dir: dir, Out: cmd.OutOrStdout(), Logger: log.Logger(cmd.ErrOrStderr()),
			})
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".casq-dev", "the folder that keeps the data")
	return cmd
}
