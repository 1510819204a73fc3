package main

import (
	"fmt"
	"io"
	"strings"

	"casq/cmd/internal/cli"
	"casq/eventlog"
	"casq/internal/promote"
	"casq/transfer"
)

// printNext says what an operator has to do, in the order in which it is to be done.
func printNext(out io.Writer, cfg config, result promote.Result) {
	target := map[string]string{eventlog.TransferFile: cfg.ArtifactTarget, eventlog.TransferGit: cfg.RepositoryTarget}
	source := map[string]string{eventlog.TransferFile: cfg.ArtifactSource, eventlog.TransferGit: cfg.RepositorySource}
	fmt.Fprint(out, "\n1. The application finds its data here, and may write there as its own user (chown -R):\n")
	for _, k := range result.Kinds {
		fmt.Fprintf(out, "   kind %s: %s\n", cli.Name(k.Kind), cli.Line(below(transfer.Redact(target[k.Transfer]), k.Here)))
	}
	if result.Repositories > 0 {
		fmt.Fprint(out, "   Hooks are the application's own, made anew by its own command:\n"+
			"     Gitea: gitea admin regenerate hooks      Gogs: gogs admin resync-hooks\n")
	}
	fmt.Fprint(out, "\n2. In the promoted database, as casq's owner:\n")
	fmt.Fprint(out, "   SELECT casq.grant_to('...', 'worker');   -- the role of this site's workers from now on\n")
	for _, k := range result.Kinds {
		if k.Here != k.There {
			fmt.Fprintf(out, "   UPDATE casq.kinds SET source_prefix = %s WHERE kind = %s;   -- where it is here\n", literal(k.Here), literal(k.Kind))
			fmt.Fprintf(out, "   UPDATE casq.kinds SET prefix = %s WHERE kind = %s;   -- where the other site has it\n", literal(k.There), literal(k.Kind))
		}
	}
	fmt.Fprint(out, "\n3. This site's workers from now on:\n"+
		"   DATABASE_URL = the promoted database, which SOURCE_DATABASE_URL has led to\n"+
		"   SOURCE_DATABASE_URL, SOURCE_REPORT_URL, ARTIFACT_*, REPOSITORY_*: not set\n")
	if cfg.ArtifactTarget != "" {
		fmt.Fprintf(out, "   SERVE_ADDR=:8093 SERVE_DIR=%s SERVE_TOKEN=...   -- for the other site\n", cli.Line(transfer.Redact(cfg.ArtifactTarget)))
	}
	fmt.Fprint(out, "\n4. The other site, when it is back, as the second one (docs/promotion.md):\n"+
		"   DATABASE_URL = a new database of its own      SOURCE_DATABASE_URL, SOURCE_REPORT_URL = the promoted one\n")
	if cfg.ArtifactTarget != "" {
		fmt.Fprintf(out, "   ARTIFACT_SOURCE_URL=https://...:8093/files ARTIFACT_SOURCE_TOKEN=...\n   ARTIFACT_TARGET_URL = the folder that the files came from (%s)\n", cli.Line(transfer.Redact(source[eventlog.TransferFile])))
	}
	if cfg.RepositoryTarget != "" {
		fmt.Fprintf(out, "   REPOSITORY_SOURCE_URL = this site's application\n   REPOSITORY_TARGET_DIR = the folder of the repositories there (%s)\n", cli.Line(transfer.Redact(source[eventlog.TransferGit])))
	}
}

// below is a folder of a target.
func below(address, prefix string) string {
	return strings.TrimSuffix(strings.TrimSuffix(address, "/")+"/"+prefix, "/")
}

// literal quotes a text for SQL.
func literal(text string) string {
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}
