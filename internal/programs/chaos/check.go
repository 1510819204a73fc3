package main

import (
	"context"
	_ "embed"
	"fmt"
	"sync"

	"casq/internal/queries"
)

//go:embed check.sql
var checkText string

// checkSQL has the statements of check.sql.
var checkSQL = queries.Parse[struct {
	SourceEvents, RecordedEvents, Rows, Jobs, JobRows, Failures, Kept, OpenCounters, Counters, Needed, State string
}]("chaos/check", checkText)

// violation is something that does not hold.
type violation struct {
	text string
	// kind and key are the resource that it is about, if it is about one.
	kind, key string
}

// complaints are violations that were seen while faults were injected.
//
// mu guards all.
type complaints struct {
	mu  sync.Mutex
	all []violation
}

func (c *chaos) complain(format string, args ...any) {
	c.broken.mu.Lock()
	defer c.broken.mu.Unlock()
	c.broken.all = append(c.broken.all, violation{text: fmt.Sprintf(format, args...)})
}

// check tests one promise when everything has come to rest.
type check struct {
	name string
	run  func(ctx context.Context, c *chaos) ([]violation, error)
}

// checks are all that are made. Another one is a line here.
var checks = []check{
	{"the application", checkApplication},
	{"files", checkFiles},
	{"repositories", checkRepositories},
	{"staging", checkStaging},
	{"rows", checkRows},
	{"jobs", checkJobs},
	{"failures", checkFailures},
	{"kept", checkKept},
	{"events", checkEvents},
	{"counters", checkCounters},
	{"reads", checkReads},
	{"builds", checkBuilds},
}

const (
	kindArtifact   = "artifact"
	kindRepository = "repository"
	kindBuilt      = "build_artifact" // what builds leave
)
