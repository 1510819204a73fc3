package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"casq/cmd/internal/cli"
	"casq/internal/audit"

	"github.com/spf13/cobra"
)

// mostUnasked is how many resources a command may touch that nobody has agreed to.
const mostUnasked = 1000

// consent is the flag --yes of a command that may touch many resources.
type consent struct{ yes bool }

func (c *consent) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.yes, "yes", false, fmt.Sprintf("do it without a question, also where it touches more than %d resources", mostUnasked))
}

// get returns the context of what n resources are touched by: it is recorded with the
// request. It asks at a terminal where they are many, and refuses elsewhere.
func (c consent) get(ctx context.Context, cmd *cobra.Command, n int64, does string) (context.Context, error) {
	request := audit.Of(ctx)
	request.Touches = &n
	ctx = audit.With(ctx, request)
	if c.yes || n <= mostUnasked {
		return ctx, nil
	}
	if !cli.Terminal(cmd.ErrOrStderr()) || !cli.ReadsTerminal(cmd.InOrStdin()) {
		return ctx, cli.Usage(cmd, "this %s %d resources: say --yes", does, n)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "This %s %d resources. Go on? [y/N] ", does, n)
	lines := make(chan string, 1)
	go func() { // which a terminal may hold up for ever: it ends with the program
		line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		lines <- line
	}()
	select {
	case <-ctx.Done():
		return ctx, fmt.Errorf("wait for the answer: %w", ctx.Err())
	case line := <-lines:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return ctx, nil
		default:
			return ctx, errors.New("not agreed to: nothing was changed")
		}
	}
}

// resourcesOf is how many resources of a kind this site has, or is to have, as it is kept.
func (h *home) resourcesOf(ctx context.Context, kind string) (n int64, err error) {
	err = h.QueryRow(ctx, "SELECT coalesce(sum(count), 0)::bigint FROM casq.registry_groups WHERE kind = $1 AND NOT deleted", kind).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("read how many resources kind %s has: %w", kind, err)
	}
	return n, nil
}
