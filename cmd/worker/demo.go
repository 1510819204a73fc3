package main

import (
	"casq/cmd/internal/cli"
	"casq/internal/demo"

	"github.com/spf13/cobra"
)

func demoCommand() *cobra.Command {
	var source string
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Replicate real files and repositories between two sites, and compare",
		Long: `Demo starts two sites on private servers, replicates every regular file below
SOURCE and the git repositories there, changes them all the while, and compares
both sites by content at the end. The source is only read. The last line is
"demo: OK" if all is equal; else the differences are printed and it exits with 1.

It needs Postgres, Redis and git on this machine (make deps), and leaves nothing
behind unless it is told to keep the sites.`,
		Example: `  worker demo                        # the Go toolchain's own source
  worker demo --source /usr/share/doc --keep`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			env := cli.NewEnv()
			log := readLogConfig(env)
			if err := env.Err(); err != nil {
				return err
			}
			return demo.Run(cmd.Context(), demo.Config{
				Source: source, Keep: keep,
				Out: cmd.OutOrStdout(), Terminal: cli.Terminal(cmd.OutOrStdout()),
				Logger: log.Logger(cmd.ErrOrStderr()),
			})
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "the folder to replicate; the source of the Go toolchain by default")
	cmd.Flags().BoolVar(&keep, "keep", false, "leave both sites as they are at the end, to look at them")
	return cmd
}
