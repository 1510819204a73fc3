package cifile

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// Plan is a run of a file: its jobs, each after those that it waits for.
type Plan struct{ Jobs []*Planned }

// Planned is a job of a run, with what the rules have made of it.
type Planned struct {
	*Job
	Name         string // with that of its instance
	Variables    []Variable
	When         When
	AllowFailure Allow
	// After are the jobs that it waits for, by their places in the plan, and Gets those of
	// them whose artifacts it gets.
	After, Gets []int
	// ByNeeds says that After are jobs that it names, and not all of the stages before.
	ByNeeds bool
	// undecided is why it cannot be said whether it runs.
	undecided *LineError
	// Chosen says that somebody has named it: if it is manual, it begins.
	Chosen bool
}

// Options of [File.Plan].
type Options struct {
	// Predefined are under, and Given over, the variables of the file.
	Predefined, Given []Variable
	// Jobs are the names of the jobs to run, with those that they wait for; none: all.
	Jobs []string
	// Alone leaves out what they wait for.
	Alone bool
	// Files are those that rules ask for.
	Files fs.FS
}

// ErrNoJobs says that the rules leave no job to run.
var ErrNoJobs = errors.New("the rules leave no job to run")

// Plan returns what is to run. Its error names each line that keeps it from that: jobs
// that need what is not there, or each other, and what is not supported in a job that is
// to run.
func (f *File) Plan(o Options) (*Plan, error) {
	files := &tree{fsys: o.Files}
	workflow, err := f.workflow(o, files)
	if err != nil {
		return nil, err
	}
	p := &planner{file: f, options: o, tree: files, workflow: workflow}
	for _, job := range f.Jobs {
		p.decide(job)
	}
	if len(p.problems) > 0 {
		return nil, join(p.problems)
	}
	p.sortStages()
	p.connect()
	if len(p.problems) == 0 {
		p.order()
	}
	if len(p.problems) > 0 {
		return nil, join(p.problems)
	}
	return p.choose()
}

func asProblem(at Position, err error) *LineError {
	if p, is := errors.AsType[*LineError](err); is {
		return p
	}
	return problem(at, "%v", err)
}

// planner makes a plan.
type planner struct {
	file     *File
	options  Options
	tree     *tree
	workflow []Variable // of the rule that lets the pipeline be
	jobs     []*Planned
	out      []string // jobs that the rules have left out
	problems []*LineError
}

// workflow returns the variables of the rule that lets the pipeline be.
func (f *File) workflow(o Options, files *tree) ([]Variable, error) {
	if f.Workflow == nil {
		return nil, nil
	}
	rule, err := firstRule(f.Workflow, environmentOf(o.Predefined, f.Variables, o.Given), files)
	switch {
	case err != nil:
		return nil, err
	case rule == nil:
		return nil, fmt.Errorf("%w: no rule of workflow applies; CI_PIPELINE_SOURCE and others can be given as variables", ErrNoJobs)
	case rule.When == Never:
		return nil, fmt.Errorf("%w: %s says never", ErrNoJobs, rule.At)
	}
	return rule.Variables, nil
}

// firstRule returns the first that applies, or nil.
func firstRule(rules []Rule, e environment, files *tree) (*Rule, error) {
	for i := range rules {
		rule := &rules[i]
		met, err := holds(rule.condition, e)
		if err != nil {
			return nil, problem(rule.At, "%v", err)
		}
		if !met {
			continue
		}
		if rule.unsupported != nil {
			return nil, rule.unsupported
		}
		if len(rule.Exists) > 0 {
			if met, err = files.has(rule.Exists, e); err != nil {
				return nil, problem(rule.At, "%v", err)
			}
		}
		if met {
			return rule, nil
		}
	}
	return nil, nil
}

// decide adds a job as often as it is to run, or leaves it out. One of which that cannot be
// said is added: it is a problem if it is one of those that are chosen.
func (p *planner) decide(job *Job) {
	planned := Planned{Job: job, When: job.When, AllowFailure: job.AllowFailure, ByNeeds: job.HasNeeds}
	planned.Variables = override(override(job.inherited, p.workflow), job.own)
	e := environmentOf(p.options.Predefined, planned.Variables, p.options.Given)
	e["CI_JOB_NAME"], e["CI_JOB_STAGE"] = Variable{Value: job.Name, Raw: true}, Variable{Value: job.Stage, Raw: true}
	runs, err := planned.apply(e, p.tree)
	if err != nil {
		planned.undecided = asProblem(job.At, err)
	} else if !runs {
		p.out = append(p.out, job.Name)
		return
	}
	instances := job.Instances
	if len(instances) == 0 {
		instances = []Instance{{}}
	}
	for _, instance := range instances {
		one := planned
		one.Name = job.Name + instance.Suffix
		one.Variables = override(planned.Variables, instance.Variables)
		if len(one.Name) > longestName {
			p.wrong(job.At, "the name of a job has more than %d bytes: %s", longestName, one.Name)
		}
		p.jobs = append(p.jobs, &one)
	}
	if len(p.jobs) > mostJobs && len(p.problems) == 0 {
		p.wrong(job.At, "there are more than %d jobs", mostJobs)
	}
}

// apply goes by the rules, or by only and except.
func (j *Planned) apply(e environment, files *tree) (runs bool, err error) {
	if !j.hasRules {
		return j.applyRefs(e)
	}
	rule, err := firstRule(j.Rules, e, files)
	if err != nil || rule == nil {
		return false, err
	}
	if rule.When != "" {
		j.When = rule.When
	}
	if rule.AllowFailure != nil {
		j.AllowFailure = Allow{Any: *rule.AllowFailure}
	}
	j.Variables = override(j.Variables, rule.Variables)
	return j.When != Never, nil
}

func (j *Planned) applyRefs(e environment) (bool, error) {
	only := j.Only
	if only == nil {
		only = &Refs{}
	}
	if len(only.Refs) == 0 && len(only.conditions) == 0 && only.unsupported == nil {
		only = &Refs{Refs: []string{"branches", "tags"}}
	}
	in, err := only.matches(e, true)
	if err != nil || !in || j.When == Never {
		return false, err
	}
	if j.Except == nil {
		return true, nil
	}
	out, err := j.Except.matches(e, false)
	return !out, err
}

func (p *planner) wrong(at Position, format string, args ...any) {
	p.problems = append(p.problems, problem(at, format, args...))
}

// choose keeps the jobs that were asked for, with those that they wait for.
func (p *planner) choose() (*Plan, error) {
	keep := make([]bool, len(p.jobs))
	if err := p.mark(keep); err != nil {
		return nil, err
	}
	for i := len(p.jobs) - 1; i >= 0 && !p.options.Alone; i-- { // each is behind what it waits for
		for _, before := range p.jobs[i].After {
			keep[before] = keep[before] || keep[i]
		}
	}
	plan, place := &Plan{}, make([]int, len(p.jobs))
	for i, job := range p.jobs {
		if !keep[i] {
			place[i] = -1
			continue
		}
		if job.undecided != nil {
			p.problems = append(p.problems, job.undecided)
		} else if job.When != Manual || job.Chosen {
			p.problems = append(p.problems, job.unsupported...)
		}
		place[i] = len(plan.Jobs)
		plan.Jobs = append(plan.Jobs, job)
		job.After, job.Gets = moved(job.After, place), moved(job.Gets, place)
	}
	switch {
	case len(p.problems) > 0:
		return nil, join(p.problems)
	case len(plan.Jobs) == 0:
		return nil, ErrNoJobs
	}
	return plan, nil
}

// moved are the places that are kept, in the plan.
func moved(indexes, place []int) (kept []int) {
	for _, i := range indexes {
		if place[i] >= 0 {
			kept = append(kept, place[i])
		}
	}
	return kept
}

// mark marks the jobs that were asked for.
func (p *planner) mark(keep []bool) error {
	if len(p.options.Jobs) == 0 {
		for i := range keep {
			keep[i] = true
		}
		return nil
	}
	for _, name := range p.options.Jobs {
		found := false
		for i, job := range p.jobs {
			if job.Name == name || job.Job.Name == name {
				keep[i], job.Chosen, found = true, true, true
			}
		}
		if found {
			continue
		}
		if slices.Contains(p.out, name) {
			return fmt.Errorf("the rules leave %q out of this run; CI_PIPELINE_SOURCE and others can be given as variables", name)
		}
		return fmt.Errorf("there is no job %q; there are %s", name, strings.Join(p.names(), ", "))
	}
	return nil
}

func (p *planner) names() (names []string) {
	for _, job := range p.file.Jobs {
		names = append(names, job.Name)
	}
	return names
}
