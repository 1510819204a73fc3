package cifile

import (
	"io/fs"
	"time"
)

// File is a CI file with everything that it includes.
type File struct {
	Stages   []string // in their order, .pre and .post among them
	Workflow []Rule   // none: a pipeline in any case
	// Variables are those of all jobs, which the jobs have already: for workflow's rules.
	Variables []Variable
	Jobs      []*Job // in the order of the file, without those that are hidden
}

// Variable is one of a job.
type Variable struct {
	Key, Value string
	Raw        bool // references to others in it are left as they are
	Masked     bool // not shown in a log
}

// Job is a job of a CI file.
type Job struct {
	Name, Stage string
	At          Position

	Script       []string // before_script and script
	AfterScript  []string
	Image        *Image
	Services     []Image
	Tags         []string
	Artifacts    []Artifacts
	Caches       []Cache
	Timeout      time.Duration // 0: the default
	Retry        Retry
	Instances    []Instance // of parallel; none: one
	When         When
	AllowFailure Allow

	Needs        []Need   // in place of stages, if HasNeeds
	Dependencies []string // whose artifacts it gets, if HasDependencies
	Rules        []Rule
	Only, Except *Refs

	HasNeeds, HasDependencies, hasRules bool

	inherited, own []Variable

	// unsupported is what keeps it from being run here.
	unsupported []*LineError
}

// When says when a job begins.
type When string

// A job begins when those before it have succeeded, when one of them has failed, when they
// have ended, when somebody says so, or not at all.
const (
	OnSuccess When = "on_success"
	OnFailure When = "on_failure"
	Always    When = "always"
	Manual    When = "manual"
	Never     When = "never"
)

// Allow says which failures of a job are no failure of the pipeline.
type Allow struct {
	Any       bool
	ExitCodes []int
}

// Covers tells whether a failure is one of them. exitCode is nil when there is none.
func (a Allow) Covers(exitCode *int32) bool {
	return a.Any || hasCode(a.ExitCodes, exitCode)
}

func hasCode(codes []int, exitCode *int32) bool {
	for _, code := range codes {
		if exitCode != nil && int32(code) == *exitCode {
			return true
		}
	}
	return false
}

// Retry says how often a job that fails is tried again, and after which failures.
type Retry struct {
	Most      int
	When      []string // none: after any
	ExitCodes []int
}

// Covers tells whether a job is tried again after this failure.
func (r Retry) Covers(reason string, exitCode *int32) bool {
	if len(r.When) == 0 && len(r.ExitCodes) == 0 || hasCode(r.ExitCodes, exitCode) {
		return true
	}
	for _, when := range r.When {
		if when == "always" || when == reason {
			return true
		}
	}
	return false
}

// Instance is one of the jobs that parallel makes of one.
type Instance struct {
	Suffix    string // of its name
	Variables []Variable
}

// Need is a job that another one needs.
type Need struct {
	Job       string
	At        Position
	Artifacts bool // they are wanted
	Optional  bool // it may be left out of the pipeline
}

// Image is what a container is made of, in the words of GitLab Runner's API.
type Image struct {
	Name            string            `json:"name"`
	Alias           string            `json:"alias,omitempty"`
	Entrypoint      []string          `json:"entrypoint,omitempty"`
	Command         []string          `json:"command,omitempty"`
	PullPolicy      []string          `json:"pull_policy,omitempty"`
	Variables       []ServiceVariable `json:"variables,omitempty"`
	ExecutorOptions *ExecutorOptions  `json:"executor_opts,omitempty"`

	At Position `json:"-"`
}

// ServiceVariable is one of a service.
type ServiceVariable struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// ExecutorOptions are those of one executor.
type ExecutorOptions struct {
	Docker DockerOptions `json:"docker"`
}

// DockerOptions are those of the Docker executor.
type DockerOptions struct {
	Platform string `json:"platform,omitempty"`
	User     string `json:"user,omitempty"`
}

// Artifacts are files that a job leaves, in the words of GitLab Runner's API.
type Artifacts struct {
	Name      string   `json:"name,omitempty"`
	Untracked bool     `json:"untracked,omitempty"`
	Paths     []string `json:"paths,omitempty"`
	Exclude   []string `json:"exclude,omitempty"`
	When      string   `json:"when,omitempty"`
	Type      string   `json:"artifact_type"`
	Format    string   `json:"artifact_format"`
	ExpireIn  string   `json:"expire_in,omitempty"`
}

// Cache is what jobs leave for others, in the words of GitLab Runner's API.
type Cache struct {
	Key          string   `json:"key"`
	Untracked    bool     `json:"untracked,omitempty"`
	Policy       string   `json:"policy,omitempty"`
	Paths        []string `json:"paths,omitempty"`
	When         string   `json:"when,omitempty"`
	FallbackKeys []string `json:"fallback_keys,omitempty"`
}

// Rule is one of rules: the first that applies says how a job begins.
type Rule struct {
	At           Position
	Exists       []string // one of these files is there; none: no condition
	When         When     // "": as the job says
	AllowFailure *bool
	Variables    []Variable

	condition   expression // nil: none
	unsupported *LineError // of what it asks
}

// Refs is only or except.
type Refs struct {
	At   Position
	Refs []string

	conditions  []expression
	unsupported *LineError
}

// Read reads a CI file of a folder. An error names each line that is wrong.
func Read(fsys fs.FS, name string) (*File, error) {
	r := &reader{files: files{fsys: fsys}, left: mostValues}
	root, p := r.load(Position{name, 1}, name, nil)
	if p == nil && len(r.problems) == 0 {
		root = r.extend(root)
	}
	if p == nil && len(r.problems) == 0 {
		if root = (resolver{r, root}).resolveAll(); root != nil {
			f := r.file(root)
			if len(r.problems) == 0 {
				return f, nil
			}
		}
	}
	if p != nil {
		r.problems = append(r.problems, p)
	}
	return nil, join(r.problems)
}
