// Package doctor looks at what a worker needs, from where the worker is: its databases,
// Redis, folders, buckets and git. It changes nothing: what a role may do is tried in
// transactions that are rolled back, and of a folder in a file without a name.
//
// It asks what the worker itself asks where it can, and says of each thing that it did
// not look at that it did not, and why.
package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"casq/internal/worker"
)

// Result is what came of a check.
type Result string

// The results of checks.
const (
	OK         Result = "ok"
	Warning    Result = "warning" // the worker works, and an operator should know
	Error      Result = "error"   // it does not, or not all of it
	NotChecked Result = "not checked"
)

// The subjects of checks.
const (
	Home         = "home"
	Source       = "source"
	Report       = "report"
	Standby      = "standby"
	Redis        = "redis"
	Files        = "files"
	Repositories = "repositories"
)

// Finding is one of them.
type Finding struct {
	Subject string `json:"subject"`
	Check   string `json:"check"`
	Result  Result `json:"result"`
	Found   string `json:"found"`          // what was found, or why it was not checked
	Mend    string `json:"mend,omitempty"` // what to do about it
}

// Failed tells whether a finding is an error.
func (f Finding) Failed() bool { return f.Result == Error }

// answerIn is how long one party may take to answer.
const answerIn = 5 * time.Second

// doctor is one look.
type doctor struct {
	cfg      worker.Config
	findings []Finding
}

// Look makes all checks that follow from a configuration.
func Look(ctx context.Context, cfg worker.Config) []Finding {
	cfg.Logger = slog.New(slog.DiscardHandler)
	d := &doctor{cfg: cfg}
	home := d.database(ctx, Home, cfg.HomeURL)
	defer home.close()
	d.home(ctx, home)
	d.source(ctx)
	d.standbys(ctx, home)
	d.redis(ctx)
	d.folders(ctx, home)
	d.runners()
	d.serve()
	return d.findings
}

func (d *doctor) add(subject, check string, result Result, mend, format string, args ...any) {
	d.findings = append(d.findings, Finding{subject, check, result, fmt.Sprintf(format, args...), mend})
}

func (d *doctor) ok(subject, check, format string, args ...any) {
	d.add(subject, check, OK, "", format, args...)
}

// skip says that checks were not made, and why.
func (d *doctor) skip(subject, why string, checks ...string) {
	for _, check := range checks {
		d.add(subject, check, NotChecked, "", "%s", why)
	}
}
