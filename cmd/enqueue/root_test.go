package main

import (
	"testing"

	"github.com/spf13/cobra"
)

// printsBytes are commands whose output is somebody else's: a build's log, and what a job
// prints here.
var printsBytes = map[string]bool{"enqueue trace": true, "enqueue exec": true}

func TestEachCommandHasAnExampleAndJSON(t *testing.T) {
	t.Parallel()
	checked := 0
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			check(sub)
		}
		if cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		if cmd.HasSubCommands() {
			return
		}
		checked++
		if (cmd.Flags().Lookup("json") == nil) != printsBytes[cmd.CommandPath()] {
			t.Errorf("%s: want --json, unless it prints what is another's", cmd.CommandPath())
		}
	}
	check(root())
	if checked < 30 {
		t.Errorf("only %d commands were found", checked)
	}
}
