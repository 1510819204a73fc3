package repolint

import (
	"slices"
	"strconv"
	"strings"
)

const (
	outermost   = "programs are the outermost layer: nobody knows them"
	noReader    = "the log does not know who reads it"
	noConsume   = "a cursor is given its consumer"
	noImage     = "an image is a table like any other: what is made of its events is for those who follow them"
	noBytes     = "versions are kept without knowing how bytes are moved"
	noThin      = "jobs are thin and call the packages below them, not the other way round"
	noCompare   = "a comparison asks the registry for new versions, and nobody asks it"
	noClient    = "jobs go through an interface of one's own; rivertype is enough for that"
	noVersion   = "transfer moves bytes and knows nothing of versions or databases"
	ground      = "what every transfer shares knows no kind of them"
	noKind      = "a kind of transfer stands on what they share, and knows no other kind"
	theirChoice = "which kind of transfer it is to be is the worker's choice"
	noCopies    = "counters know the log, and are handed what queues their jobs"
	downwards   = "the counters' rooms stand on each other: tally, then buffer and shards, then feed, then counter and recount"
	noKeep      = "what is kept, and for whom, is said by those who need it"
	noDomain    = "it serves every package, and knows none"
	scaffolding = "the product does not carry what proves it"
	noCasq      = "people who run nothing else of casq import it"
	noStore     = "not everyone has it: see the packages below replica"
	noNeighbour = "a forge embeds it: it knows the log, and nothing of the other rooms that follow it"
	noQueue     = "a CI file is read, and nothing is run by that"
	noCode      = "a migration must mean the same when the code has moved on"
)

// forbidden maps an importer to what it must not import, with the reason. A
// pattern that ends in /... covers what is below it too. Tests may do more:
// they put packages together.
var forbidden = map[string]map[string]string{
	"casq/...": {
		"casq/cmd/...": outermost,
	},
	"casq/eventlog/...": {
		"casq/registry/...":                       noReader,
		"casq/jobs/...":                           noReader,
		"casq/transfer/...":                       noReader,
		"casq/internal/cursor/...":                noReader,
		"github.com/riverqueue/river/...":         noReader,
		"github.com/riverqueue/river/rivertype":   noReader,
		"github.com/riverqueue/river/riverdriver": noReader,
	},
	"casq/internal/cursor/...": {
		"casq/registry/...":               noConsume,
		"casq/jobs/...":                   noConsume,
		"casq/transfer/...":               noConsume,
		"github.com/riverqueue/river/...": noConsume,
	},
	"casq/internal/view/...": {
		"casq/counter/...":                noImage,
		"casq/jobs/...":                   noImage,
		"casq/registry/...":               noImage,
		"casq/transfer/...":               noImage,
		"github.com/riverqueue/river/...": noImage,
	},
	"casq/registry/...": {
		"casq/jobs/...":                               noThin,
		"casq/transfer/...":                           noBytes,
		"github.com/riverqueue/river":                 noClient,
		"github.com/riverqueue/river/riverdriver/...": noClient,
	},
	"casq/registry": {"casq/registry/reconcile/...": noCompare},
	"casq/jobs/...": {
		"casq/registry/reconcile/...": noCompare,
		"casq/transfer/bucket/...":    theirChoice,
		"casq/transfer/file/...":      theirChoice,
		"casq/transfer/folder/...":    theirChoice,
		"casq/transfer/git/...":       theirChoice,
	},
	"casq/transfer/...": {
		"casq/eventlog/...":               noVersion,
		"casq/registry/...":               noVersion,
		"casq/jobs/...":                   noVersion,
		"database/sql":                    noVersion,
		"github.com/jackc/pgx/v5/...":     noVersion,
		"github.com/redis/go-redis/v9":    noVersion,
		"github.com/riverqueue/river/...": noVersion,
	},
	"casq/transfer": {
		"casq/transfer/bucket/...": ground,
		"casq/transfer/file/...":   ground,
		"casq/transfer/folder/...": ground,
		"casq/transfer/git/...":    ground,
	},
	"casq/transfer/folder/...": {
		"casq/transfer/bucket/...": ground,
		"casq/transfer/file/...":   ground,
		"casq/transfer/git/...":    ground,
	},
	"casq/transfer/bucket/...": {
		"casq/transfer/file/...": noKind,
		"casq/transfer/git/...":  noKind,
	},
	"casq/transfer/file/...": {
		"casq/transfer/bucket/...": noKind,
		"casq/transfer/git/...":    noKind,
	},
	"casq/transfer/git/...": {
		"casq/transfer/bucket/...": noKind,
		"casq/transfer/file/...":   noKind,
	},
	"casq/transfer/web/...": {
		"casq/transfer/bucket/...": noKind,
		"casq/transfer/file/...":   noKind,
		"casq/transfer/folder/...": noKind,
		"casq/transfer/git/...":    noKind,
		"casq/transfer/serve/...":  "who asks does not know who answers",
	},
	"casq/transfer/serve/...": {
		"casq/transfer/bucket/...": noKind,
		"casq/transfer/file/...":   noKind,
		"casq/transfer/git/...":    noKind,
	},
	"casq/counter/...": {
		"casq/registry/...":               noCopies,
		"casq/jobs/...":                   noCopies,
		"casq/transfer/...":               noCopies,
		"casq/internal/cursor/...":        noCopies,
		"github.com/riverqueue/river/...": noCopies,
	},
	"casq/counter/internal/tally/...": {
		"casq/counter":                     downwards,
		"casq/counter/recount/...":         downwards,
		"casq/counter/internal/feed/...":   downwards,
		"casq/counter/internal/buffer/...": downwards,
		"casq/counter/internal/shards/...": downwards,
		"github.com/jackc/pgx/v5/...":      downwards,
		"github.com/redis/go-redis/v9/...": downwards,
	},
	"casq/counter/internal/buffer/...": {
		"casq/counter":                     downwards,
		"casq/counter/recount/...":         downwards,
		"casq/counter/internal/feed/...":   downwards,
		"casq/counter/internal/shards/...": downwards,
		"github.com/jackc/pgx/v5/...":      downwards,
	},
	"casq/counter/internal/shards/...": {
		"casq/counter":                     downwards,
		"casq/counter/recount/...":         downwards,
		"casq/counter/internal/feed/...":   downwards,
		"casq/counter/internal/buffer/...": downwards,
		"github.com/redis/go-redis/v9/...": downwards,
	},
	"casq/counter/internal/feed/...": {
		"casq/counter":             downwards,
		"casq/counter/recount/...": downwards,
	},
	"casq/counter/recount/...": {
		"casq/counter":                     downwards,
		"casq/counter/internal/feed/...":   downwards,
		"casq/counter/internal/buffer/...": downwards,
		"github.com/redis/go-redis/v9/...": downwards,
	},
	"casq/counter": {
		"casq/counter/recount/...": downwards,
	},
	"casq/internal/retention/...": {
		"casq/registry/...":               noKeep,
		"casq/jobs/...":                   noKeep,
		"casq/counter/...":                noKeep,
		"casq/transfer/...":               noKeep,
		"github.com/riverqueue/river/...": noKeep,
	},
	"casq/internal/database/...": domain,
	"casq/internal/landlock/...": domain,
	"casq/internal/metrics/...":  domain,
	"casq/internal/lease/...":    domain,
	"casq/internal/pause/...":    domain,
	"casq/internal/portion/...":  domain,
	"casq/internal/process/...":  domain,
	"casq/internal/queries/...":  domain,
	"casq/internal/redisurl/...": domain,
	"casq/internal/span/...":     domain,
	"casq/replica": {
		"github.com/redis/go-redis/v9/...": noStore,
		"github.com/riverqueue/river/...":  noStore,
	},
	"casq/replica/...": {
		"casq/counter/...":    noCasq,
		"casq/eventlog/...":   noCasq,
		"casq/internal/...":   noCasq,
		"casq/jobs/...":       noCasq,
		"casq/migrations/...": noCasq,
		"casq/registry/...":   noCasq,
		"casq/transfer/...":   noCasq,
	},
	"casq/runner/...": {
		"casq/counter/...":                 noNeighbour,
		"casq/internal/cursor/...":         noNeighbour,
		"casq/internal/worker/...":         noNeighbour,
		"casq/jobs/...":                    noNeighbour,
		"casq/registry/...":                noNeighbour,
		"casq/transfer/...":                noNeighbour,
		"github.com/riverqueue/river/...":  noNeighbour,
		"github.com/redis/go-redis/v9/...": noNeighbour,
	},
	"casq/internal/cifile/...": {
		"casq/internal/database/...":  noQueue,
		"casq/internal/localrun/...":  noQueue,
		"casq/runner/...":             noQueue,
		"github.com/jackc/pgx/v5/...": noQueue,
		"os/exec":                     noQueue,
	},
	"casq/migrations/...": {
		"casq/eventlog/...": noCode,
		"casq/registry/...": noCode,
		"casq/transfer/...": noCode,
		"casq/jobs/...":     noCode,
	},
}

// domain are the imports that a package that serves all others must not have.
var domain = map[string]string{
	"casq/counter/...":         noDomain,
	"casq/eventlog/...":        noDomain,
	"casq/internal/cursor/...": noDomain,
	"casq/internal/worker/...": noDomain,
	"casq/jobs/...":            noDomain,
	"casq/migrations/...":      noDomain,
	"casq/registry/...":        noDomain,
	"casq/transfer/...":        noDomain,
}

// onlyHere maps an import to the folders that may have it, with the reason.
var onlyHere = map[string]struct {
	dirs   []string
	reason string
}{
	"github.com/lmittmann/tint": {
		[]string{"cmd"}, "a terminal is the program's; packages log to the logger they are given",
	},
	"github.com/spf13/cobra/...": {
		[]string{"cmd"}, "flags are the program's; packages take values",
	},
	"testing/...": {
		[]string{"internal/testing", "counter/internal/countertest", "races"}, "a program does not carry its tests",
	},
	"casq/internal/testing/...": {
		[]string{"internal/testing", "counter/internal/countertest", "internal/programs", "races", "internal/dev"}, scaffolding,
	},
	"casq/counter/internal/countertest": {nil, scaffolding},
	"casq/internal/programs/...":        {[]string{"internal/programs"}, scaffolding},
	"github.com/prometheus/...": {
		[]string{"internal/metrics", "replica/promreplica"}, "packages count by functions that they are given, and know nobody who asks",
	},
	"gocloud.dev/...": {
		[]string{"transfer/bucket", "runner/filestore", "cmd"}, "object storage is one kind of transfer, and one kind of file store; the program brings the drivers",
	},
	"unsafe": {
		[]string{"internal/landlock"}, "only a system call that nobody has wrapped is worth it",
	},
}

var imports = rule{
	name: "no package imports what it must not know",
	check: func(t tree) (problems []string, checked int) {
		eachImport(t, func(f file, imported string, complain func(reason string)) {
			checked++
			for importer, list := range forbidden {
				if !covers(importer, f.importPath()) {
					continue
				}
				for pattern, reason := range list {
					if covers(pattern, imported) && !covers(pattern, f.importPath()) {
						complain(reason)
						return
					}
				}
			}
		}, &problems)
		return problems, checked
	},
	bad: map[string]string{
		"cmd/worker/main.go":       "package main\nimport _ \"casq/jobs\"\n",
		"cmd/worker/sub/sub.go":    "package sub\n",
		"eventlog/a.go":            "package eventlog\nimport _ \"casq/registry\"\n",
		"eventlog/b_test.go":       "package eventlog\nimport _ \"casq/registry\"\n",
		"eventlog/internal/c/c.go": "package c\nimport _ \"github.com/riverqueue/river/rivertype\"\n",
		"counter/d.go":             "package counter\nimport _ \"casq/counter/recount\"\n",
		"counter/c.go":             "package counter\nimport _ \"casq/internal/cursor\"\n",
		"internal/lease/l.go":      "package lease\nimport _ \"casq/eventlog\"\n",
		"internal/x/x.go":          "package x\nimport _ \"casq/cmd/worker/sub\"\n",
		"runner/n.go":              "package runner\nimport _ \"casq/jobs\"\n",
		"internal/cifile/c.go":     "package cifile\nimport _ \"casq/runner\"\n",
		"registry/k.go":            "package registry\nimport _ \"casq/registry/reconcile\"\n",
		"registry/r.go":            "package registry\nimport (\n_ \"github.com/riverqueue/river\"\n_ \"github.com/riverqueue/river/rivertype\"\n)\n",
		"jobs/j.go":                "package jobs\nimport _ \"casq/transfer/git\"\n",
		"transfer/g.go":            "package transfer\nimport _ \"casq/transfer/folder\"\n",
		"transfer/file/f.go":       "package file\nimport (\n_ \"casq/transfer\"\n_ \"casq/transfer/folder\"\n_ \"casq/transfer/git\"\n)\n",
		"transfer/folder/f.go":     "package folder\nimport _ \"casq/transfer/file\"\n",
		"transfer/t.go":            "package transfer\nimport _ \"github.com/jackc/pgx/v5/pgxpool\"\n",
	},
	want: []string{
		`counter/c.go:2: imports "casq/internal/cursor": ` + noCopies,
		`counter/d.go:2: imports "casq/counter/recount": ` + downwards,
		`eventlog/a.go:2: imports "casq/registry": ` + noReader,
		"eventlog/internal/c/c.go:2: ",
		`internal/cifile/c.go:2: imports "casq/runner": ` + noQueue,
		`internal/lease/l.go:2: imports "casq/eventlog": ` + noDomain,
		outermost,
		`jobs/j.go:2: imports "casq/transfer/git": ` + theirChoice,
		`registry/k.go:2: imports "casq/registry/reconcile": ` + noCompare,
		`registry/r.go:3: imports "github.com/riverqueue/river": `,
		`runner/n.go:2: imports "casq/jobs": ` + noNeighbour,
		`transfer/file/f.go:5: imports "casq/transfer/git": ` + noKind,
		`transfer/folder/f.go:2: imports "casq/transfer/file": ` + ground,
		`transfer/g.go:2: imports "casq/transfer/folder": ` + ground,
		noVersion,
	},
}

var importsHere = rule{
	name: "some imports have one place",
	check: func(t tree) (problems []string, checked int) {
		eachImport(t, func(f file, imported string, complain func(reason string)) {
			checked++
			for pattern, rule := range onlyHere {
				if covers(pattern, imported) && !slices.ContainsFunc(rule.dirs, f.within) {
					complain(rule.reason)
				}
			}
		}, &problems)
		return problems, checked
	},
	bad: map[string]string{
		"cmd/worker/log.go":                 "package main\nimport _ \"github.com/lmittmann/tint\"\n",
		"eventlog/a.go":                     "package eventlog\nimport _ \"github.com/lmittmann/tint\"\n",
		"eventlog/a_test.go":                "package eventlog\nimport _ \"testing\"\n",
		"eventlog/setup.go":                 "package eventlog\nimport _ \"testing\"\n",
		"internal/testing/servers/setup.go": "package servers\nimport _ \"testing\"\n",
		"internal/dev/dev.go":               "package dev\nimport _ \"casq/internal/testing/servers\"\n",
		"internal/worker/demo.go":           "package worker\nimport _ \"casq/internal/programs/demo\"\n",
		"internal/worker/site.go":           "package worker\nimport _ \"casq/internal/testing/servers\"\n",
	},
	want: []string{"a terminal is the program's", "eventlog/setup.go:2: ", "worker/demo.go:2: ", "worker/site.go:2: "},
}

// eachImport visits the imports of everything but tests, in the tree's order.
func eachImport(t tree, visit func(f file, imported string, complain func(reason string)), problems *[]string) {
	for _, f := range t.code(false) {
		for _, spec := range f.ast.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				*problems = append(*problems, f.at(spec.Pos(), "import %s cannot be read", spec.Path.Value))
				continue
			}
			visit(f, imported, func(reason string) {
				*problems = append(*problems, f.at(spec.Pos(), "imports %q: %s", imported, reason))
			})
		}
	}
}

// covers tells whether an import path is the pattern's, or below a pattern that
// ends in /... .
func covers(pattern, importPath string) bool {
	parent, tree := strings.CutSuffix(pattern, "/...")
	return importPath == parent || (tree && strings.HasPrefix(importPath, parent+"/"))
}
