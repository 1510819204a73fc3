package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"casq/cmd/internal/cli"
	"casq/internal/audit"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// request is what a call of this program asks for, as it stands in casq.audit if it
// changes anything.
func request(cmd *cobra.Command) audit.Request {
	who := "uid " + strconv.Itoa(os.Getuid())
	if u, err := user.Current(); err == nil {
		who = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return audit.Request{ID: uuid.New(), Actor: who, Via: "cli", Origin: host, Action: commandLine(cmd)}
}

// unrecorded are flags whose values may be, or have in them, passwords of others: what a
// build runs is for its runner, and audits are read by more.
var unrecorded = map[string]bool{"script": true, "image": true}

// commandLine is the call, with the flags in their order.
func commandLine(cmd *cobra.Command) string {
	words := slices.Concat(strings.Fields(cmd.CommandPath())[1:], cmd.Flags().Args())
	cmd.Flags().Visit(func(f *pflag.Flag) {
		switch {
		case f.Value.Type() == "bool" && f.Value.String() == "true":
			words = append(words, "--"+f.Name)
		case unrecorded[f.Name]:
			words = append(words, "--"+f.Name, "...")
		default:
			words = append(words, "--"+f.Name, f.Value.String())
		}
	})
	return strings.Join(words, " ")
}

// recorded is a row of casq.audit.
type recorded struct {
	ID      uuid.UUID        `json:"id"`
	At      time.Time        `json:"asked_at"`
	Role    string           `json:"role"`
	Actor   string           `json:"actor"`
	Via     string           `json:"via"`
	Origin  string           `json:"origin"`
	Action  string           `json:"action"`
	Touches *int64           `json:"touches"` // what was said beforehand
	Changed map[string]int64 `json:"changed"` // rows, by table
}

func auditCommand() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "audit [--limit N]",
		Short: "Show who has changed something, when and from where",
		Long: `Audit lists the newest requests of operators that have changed something, by this
program or by the page, with the rows that they have changed: SELECT * FROM casq.audit.
What was refused, or changed nothing, is not there. The role is proved by the database;
the person and the machine are what the session said.`,
		Example: `  enqueue audit
  enqueue audit --limit 1000 --json`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().IntVar(&limit, "limit", 50, "how many, at most 10000")
	addJSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if limit < 1 || limit > 10_000 {
			return cli.Usage(cmd, "--limit is %d: it may be 1 to 10000", limit)
		}
		return withHome(cmd, func(ctx context.Context, h *home) error {
			rows, err := h.Query(ctx, reportSQL.Audit, limit)
			if err != nil {
				return fmt.Errorf("list who asked for what: %w", err)
			}
			all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[recorded])
			if err != nil {
				return fmt.Errorf("list who asked for what: %w", err)
			}
			return answer(cmd, map[string]any{"requests": all}, recordedTable(all))
		})
	}
	return cmd
}

func recordedTable(all []recorded) string {
	if len(all) == 0 {
		return "(nothing was asked for)"
	}
	var out strings.Builder
	table := tabwriter.NewWriter(&out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "ASKED\tROLE\tWHO\tVIA\tFROM\tCHANGED\tACTION")
	for i := range all {
		r := &all[i]
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.At.UTC().Format("2006-01-02 15:04:05"), cli.Name(r.Role), cli.Name(r.Actor),
			cli.Name(r.Via), cli.Name(r.Origin), r.changes(), cli.Line(r.Action))
	}
	_ = table.Flush()
	return out.String()
}

// changes is how much of what was changed.
func (r *recorded) changes() string {
	var parts []string
	for _, table := range slices.Sorted(maps.Keys(r.Changed)) {
		if _, counted := r.Changed[strings.TrimSuffix(table, " statements")]; counted && strings.HasSuffix(table, " statements") {
			continue // an insert that may have been an update
		}
		parts = append(parts, fmt.Sprintf("%s %d", table, r.Changed[table]))
	}
	return cli.Line(strings.Join(parts, ", "))
}
