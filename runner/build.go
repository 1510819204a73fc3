package runner

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"casq/internal/queries"

	"github.com/jackc/pgx/v5"
)

//go:embed build.sql
var buildText string

// buildSQL has the statements of build.sql.
var buildSQL = queries.Parse[struct {
	BeginPipeline, AddBuild, OfToken, Exists, Begin, Finish, Fail, Heard, BringBack, Overdue, Roomy, Admit, Requeue, Overrun, RunnerOf, Contacted string
}]("runner/build", buildText)

// Status is what a build is.
type Status string

// The statuses of a build. Those from [Success] on are ends; a retry leads back.
const (
	Created   Status = "created"   // waits for builds that it needs
	Pending   Status = "pending"   // waits for a runner
	Running   Status = "running"   // is a runner's
	Canceling Status = "canceling" // its runner is told to stop
	Success   Status = "success"
	Failed    Status = "failed"
	Canceled  Status = "canceled"
	Skipped   Status = "skipped" // a build that it needs has not succeeded
)

// Pipeline is what [Enqueue] queues at once.
type Pipeline struct {
	Project int64 // the forge's id of the project, above 0
	Ref     string
	SHA     string
	Builds  []Build
}

// Build is one of a pipeline.
type Build struct {
	Name  string // unique in its pipeline
	Stage string // a word for people; defaults to "test"
	// Tags are those that a runner must have; none: it must take builds without tags.
	Tags []string
	// Needs are names of builds further up in the pipeline: it begins when they have
	// succeeded, and gets their artifacts.
	Needs        []string
	Priority     int           // higher comes first; defaults to 0
	Timeout      time.Duration // defaults to an hour
	AllowFailure bool          // those that need it begin also when it has failed
	// Job is what the runner gets, as JSON, in the words of GitLab Runner's API: steps,
	// variables, artifacts, cache, image, services, git_info. What is known only when it is
	// handed out is added then.
	Job json.RawMessage
}

// ErrNeeds says that a build needs what is not above it in its pipeline.
var ErrNeeds = errors.New("needs what is not before it in its pipeline")

// Enqueue queues the builds of a pipeline in tx, and returns their ids in the order of
// p.Builds. They can be picked when tx has committed. The project's row is locked
// until then: call it late.
//
// Errors: [ErrNeeds]; what the database says of a job, of tags, or of a project that has
// as many builds waiting as it may have, with a hint.
func Enqueue(ctx context.Context, tx pgx.Tx, p Pipeline) (pipeline int64, builds []int64, err error) {
	if len(p.Builds) == 0 {
		return 0, nil, errors.New("enqueue a pipeline: it has no builds")
	}
	if err := tx.QueryRow(ctx, buildSQL.BeginPipeline, p.Project, p.Ref, p.SHA).Scan(&pipeline); err != nil {
		return 0, nil, fmt.Errorf("begin a pipeline of project %d: %w", p.Project, err)
	}
	ids := make(map[string]int64, len(p.Builds))
	for i := range p.Builds {
		b := &p.Builds[i]
		if _, twice := ids[b.Name]; twice {
			return 0, nil, fmt.Errorf("enqueue build %q: the pipeline has two of that name", b.Name)
		}
		needs := make([]int64, 0, len(b.Needs))
		for _, name := range b.Needs {
			id, there := ids[name]
			if !there {
				return 0, nil, fmt.Errorf("enqueue build %q: %w: %q", b.Name, ErrNeeds, name)
			}
			needs = append(needs, id)
		}
		id, err := addBuild(ctx, tx, pipeline, b, needs)
		if err != nil {
			return 0, nil, fmt.Errorf("enqueue build %q: %w", b.Name, err)
		}
		ids[b.Name] = id
		builds = append(builds, id)
	}
	return pipeline, builds, nil
}

func addBuild(ctx context.Context, tx pgx.Tx, pipeline int64, b *Build, needs []int64) (id int64, err error) {
	stage, tags, timeout := b.Stage, b.Tags, int64(b.Timeout/time.Second)
	if stage == "" {
		stage = "test"
	}
	if tags == nil {
		tags = []string{}
	}
	if b.Timeout == 0 {
		timeout = 3600
	}
	err = tx.QueryRow(ctx, buildSQL.AddBuild, pipeline, b.Name, b.Job, tags, needs, stage, b.Priority, timeout, b.AllowFailure).Scan(&id)
	return id, err
}
