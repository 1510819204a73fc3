package cifile

import (
	"slices"
	"strings"
)

// sortStages puts the jobs into the order of their stages.
func (p *planner) sortStages() {
	slices.SortStableFunc(p.jobs, func(a, b *Planned) int { return p.stage(a) - p.stage(b) })
}

func (p *planner) stage(j *Planned) int { return slices.Index(p.file.Stages, j.Stage) }

// connect finds what each job waits for.
func (p *planner) connect() {
	byName := make(map[string][]int)
	for i, job := range p.jobs {
		byName[job.Job.Name] = append(byName[job.Job.Name], i)
		if job.Name != job.Job.Name {
			byName[job.Name] = append(byName[job.Name], i)
		}
	}
	for _, job := range p.jobs {
		if job.HasNeeds {
			p.byNeeds(job, byName)
		} else {
			for i, other := range p.jobs {
				if p.stage(other) < p.stage(job) {
					job.After, job.Gets = append(job.After, i), append(job.Gets, i)
				}
			}
		}
		if job.HasDependencies {
			p.byDependencies(job, byName)
		}
	}
}

func (p *planner) byNeeds(job *Planned, byName map[string][]int) {
	for _, need := range job.Needs {
		found := byName[need.Job]
		switch {
		case len(found) == 0 && need.Optional:
		case len(found) == 0 && slices.Contains(p.out, need.Job):
			p.wrong(need.At, "%s needs %q, which the rules leave out: needs:optional says that it may be", job.Name, need.Job)
		case len(found) == 0:
			p.wrong(need.At, "%s needs %q, which is no job", job.Name, need.Job)
		case p.jobs[found[0]].Job == job.Job:
			p.wrong(need.At, "%s needs itself", job.Name)
		case p.stage(p.jobs[found[0]]) > p.stage(job):
			p.wrong(need.At, "%s needs %q, which is of a later stage", job.Name, need.Job)
		default:
			job.After = append(job.After, found...)
			if need.Artifacts {
				job.Gets = append(job.Gets, found...)
			}
		}
	}
}

func (p *planner) byDependencies(job *Planned, byName map[string][]int) {
	var gets []int
	for _, name := range job.Dependencies {
		found := byName[name]
		switch {
		case len(found) == 0 && slices.Contains(p.out, name):
		case len(found) == 0:
			p.wrong(job.At, "%s has %q in its dependencies, which is no job", job.Name, name)
		case !slices.Contains(job.After, found[0]):
			p.wrong(job.At, "%s has %q in its dependencies, which it does not wait for", job.Name, name)
		default:
			gets = append(gets, found...)
		}
	}
	job.Gets = gets
}

// order puts each job behind those that it waits for, and finds cycles.
func (p *planner) order() {
	const (
		unseen = iota
		under
		done
	)
	state := make([]int, len(p.jobs))
	place := make([]int, len(p.jobs))
	var sorted []*Planned
	var visit func(i int, chain []string)
	visit = func(i int, chain []string) {
		job := p.jobs[i]
		chain = append(chain, job.Name)
		switch state[i] {
		case done:
			return
		case under:
			if len(p.problems) == 0 {
				p.wrong(job.At, "needs lead back to where they began: %s", strings.Join(chain[slices.Index(chain, job.Name):], ", "))
			}
			return
		}
		state[i] = under
		for _, before := range job.After {
			visit(before, chain)
		}
		state[i], place[i] = done, len(sorted)
		sorted = append(sorted, job)
	}
	for i := range p.jobs {
		visit(i, nil)
	}
	for _, job := range p.jobs {
		for _, indexes := range [][]int{job.After, job.Gets} {
			for k, i := range indexes {
				indexes[k] = place[i]
			}
			slices.Sort(indexes)
		}
		job.After, job.Gets = slices.Compact(job.After), slices.Compact(job.Gets)
	}
	p.jobs = sorted
}
