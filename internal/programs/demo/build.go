package main

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"casq/internal/testing/runnerclient"
	"casq/runner"

	"github.com/jackc/pgx/v5"
)

// kindBuilt is the kind of what builds leave.
const kindBuilt = "build_artifact"

// built is the build that the demo ends with.
type built struct {
	id, project int64
	// picked is the time from its commit until a runner had it, took that until its end
	// was taken in.
	picked, took time.Duration
	log          []byte // as its runner has sent it
	file         int    // bytes
}

const (
	// buildWithin is for a build to be picked up and to be run.
	buildWithin = time.Minute
	// buildFile is the size of the file that the build leaves, but for what a zip adds.
	buildFile = 1 << 20
)

// build queues a build at the primary site, for a runner of our own which asks that site's
// worker, as a machine with GitLab Runner does: it streams a log, and uploads a file. That is
// all that is done for the file: the second site follows the log, and so do counters.
func (d *demo) build(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, buildWithin, errors.New("it takes too long"))
	defer cancel()
	if err := d.runBuild(ctx); err != nil {
		return fmt.Errorf("run a build: %w; the log of the primary site's worker ends with:\n%s", err, d.workers[0].tail())
	}
	return nil
}

func (d *demo) runBuild(ctx context.Context) error {
	process, err := d.makeRunner(ctx)
	if err != nil {
		return err
	}
	defer process.HTTP.CloseIdleConnections()
	var job *runnerclient.Job
	asking := make(chan error, 1)
	go func() {
		var err error
		for job == nil && err == nil {
			job, err = process.Request(ctx)
		}
		asking <- err
	}()
	committed, err := d.enqueueBuild(ctx)
	if err != nil {
		return err
	}
	if err := <-asking; err != nil {
		return err
	}
	b := &d.built
	b.id, b.picked = job.ID, time.Since(committed)
	if err := d.machine(ctx, job); err != nil {
		return err
	}
	b.log, b.took = job.Log(), time.Since(committed)
	return nil
}

// makeRunner makes a runner, and returns a process of it.
func (d *demo) makeRunner(ctx context.Context) (*runnerclient.Process, error) {
	var address string
	d.workers[0].eachLine(func(_ string, record map[string]any) {
		if at, ok := record["runner_addr"].(string); ok {
			address = at
		}
	})
	p := &runnerclient.Process{System: "s_demo", Coordinators: []string{"http://" + address}, HTTP: &http.Client{Transport: &http.Transport{}}}
	err := d.primary.DB.QueryRow(ctx, "SELECT token FROM casq.create_runner('demo', tags => '{demo}')").Scan(&p.Token)
	if err != nil {
		return nil, fmt.Errorf("make a runner: %w", err)
	}
	return p, nil
}

func (d *demo) enqueueBuild(ctx context.Context) (committed time.Time, err error) {
	d.built.project = d.loader.projects["."]
	err = pgx.BeginFunc(ctx, d.primary.DB, func(tx pgx.Tx) error {
		_, _, err := runner.Enqueue(ctx, tx, runner.Pipeline{Project: d.built.project, Builds: []runner.Build{{
			Name: "package", Tags: []string{"demo"},
			Job: json.RawMessage(`{"steps":[{"name":"script","script":["make dist"]}],"artifacts":[{"paths":["dist/"]}]}`),
		}}})
		return err
	})
	return time.Now(), err
}

// machine is what a machine does with the build.
func (d *demo) machine(ctx context.Context, job *runnerclient.Job) error {
	if err := job.Begin(ctx); err != nil {
		return err
	}
	content, err := d.dist()
	if err != nil {
		return err
	}
	d.built.file = len(content)
	for _, line := range []string{"$ make dist", fmt.Sprintf("dist/all: %d bytes", buildFile), "Uploading artifacts..."} {
		fmt.Fprintln(job, line)
		if err := job.Send(ctx); err != nil {
			return err
		}
	}
	if err := job.Upload(ctx, "dist.zip", "never", func() io.Reader { return bytes.NewReader(content) }); err != nil {
		return err
	}
	fmt.Fprintln(job, "Job succeeded")
	return job.Finish(ctx, "success", "")
}

// dist is a zip with a file that does not become smaller.
func (d *demo) dist() ([]byte, error) {
	var out bytes.Buffer
	archive := zip.NewWriter(&out)
	file, err := archive.Create("dist/all")
	if err == nil {
		_, err = io.CopyN(file, rand.Reader, buildFile)
	}
	err = errors.Join(err, archive.Close())
	return out.Bytes(), err
}

// compareBuild compares the build's log and its project's counter with what its runner
// has sent. Its file is one like others.
func (d *demo) compareBuild(ctx context.Context) (differences []string, err error) {
	var log bytes.Buffer
	if err := runner.Trace(ctx, d.primary.DB, d.built.id, 0, 0, false, &log); err != nil {
		return nil, fmt.Errorf("compare the build: %w", err)
	}
	if !bytes.Equal(log.Bytes(), d.built.log) {
		differences = append(differences, fmt.Sprintf("build %d: its log is %q, its runner has sent %q", d.built.id, log.Bytes(), d.built.log))
	}
	var status, size, items string
	if err := d.primary.DB.QueryRow(ctx, demoSQL.Built, d.built.id).Scan(&status, &size, &items); err != nil {
		return nil, fmt.Errorf("compare the build: %w", err)
	}
	if want := fmt.Sprint(d.built.file); status != "success" || size != want || items != "1" {
		differences = append(differences, fmt.Sprintf("build %d: it is %s, and its project's counter %s bytes in %s; it has succeeded and left %s",
			d.built.id, status, size, items, want))
	}
	return differences, nil
}

// text says what came of it.
func (b *built) text() string {
	return fmt.Sprintf("picked up %.0f ms after its commit, %.0f ms until its end; %s of log, a file of %s, which is at the second site and in the counter of project %d",
		b.picked.Seconds()*1000, b.took.Seconds()*1000, bytesText(int64(len(b.log))), bytesText(int64(b.file)), b.project)
}
