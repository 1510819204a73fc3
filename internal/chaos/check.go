package main

import "context"

// violation is something that does not hold.
type violation struct {
	text string
	// kind and key are the thing that it is about, if it is about one.
	kind, key string
}

// check looks at one promise when everything has come to rest.
type check struct {
	name string
	run  func(ctx context.Context, c *chaos) ([]violation, error)
}

// checks are all that is looked at. Another one is a line here.
var checks = []check{
	{"the application", checkApplication},
	{"files", checkFiles},
	{"repositories", checkRepositories},
	{"staging", checkStaging},
	{"rows", checkRows},
	{"jobs", checkJobs},
	{"failures", checkFailures},
	{"events", checkEvents},
	{"counters", checkCounters},
}

const (
	kindArtifact   = "artifact"
	kindRepository = "repository"
)
