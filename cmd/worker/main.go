// Worker is the long-running process of casq: it takes ticks of the log,
// follows it, and copies. It also migrates its database, and starts private
// servers for development.
package main

import (
	"os"

	"casq/cmd/internal/cli"
)

// version is set by the linker.
var version string

func main() { os.Exit(cli.Run(root())) }
