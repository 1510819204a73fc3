// Enqueue inserts work for casq's workers, and shows how it goes.
package main

import (
	"os"

	"casq/cmd/internal/cli"
)

// version is set by the linker.
var version string

func main() { os.Exit(cli.Run(root())) }
