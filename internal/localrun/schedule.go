package localrun

import (
	"slices"

	"casq/internal/cifile"
)

// outcome is what a job is, as others see it that wait for it.
type outcome string

// The first two are not ends. What is held waits for a manual job that nobody starts.
const (
	waiting   outcome = "waiting"
	begun     outcome = "running"
	succeeded outcome = "success"
	allowed   outcome = "failed, as it may"
	failed    outcome = "failed"
	canceled  outcome = "canceled"
	skipped   outcome = "skipped"
	manual    outcome = "manual"
	held      outcome = "held back"
)

func (o outcome) ended() bool { return o != waiting && o != begun }

// schedule says what is to begin: GitLab's rules, on jobs of which each comes after those
// that it waits for.
type schedule struct {
	jobs []*cifile.Planned
	now  []outcome
}

func newSchedule(jobs []*cifile.Planned) *schedule {
	s := &schedule{jobs: jobs, now: make([]outcome, len(jobs))}
	for i := range s.now {
		s.now[i] = waiting
	}
	return s
}

// next marks the jobs that begin now, and returns them. Those that never will are marked as
// well.
func (s *schedule) next() (begin []int) {
	for i, job := range s.jobs {
		if s.now[i] != waiting {
			continue
		}
		s.now[i] = s.decide(job)
		if s.now[i] == begun {
			begin = append(begin, i)
		}
	}
	return begin
}

// decide says what becomes of a job that has not begun.
func (s *schedule) decide(job *cifile.Planned) outcome {
	before := s.before(job)
	if before == waiting || before == held {
		return before
	}
	when := job.When
	if when == cifile.Manual && job.Chosen {
		when = cifile.OnSuccess
	}
	var runs bool
	switch when {
	case cifile.OnSuccess, cifile.Manual:
		runs = before == succeeded || before == skipped && !job.ByNeeds
	case cifile.OnFailure:
		runs = before == failed
	case cifile.Never: // it is not in a plan
	case cifile.Always:
		runs = before == succeeded || before == failed || before == skipped && !job.ByNeeds
	}
	switch {
	case !runs:
		return skipped
	case when == cifile.Manual:
		return manual
	default:
		return begun
	}
}

// before is what the jobs that one waits for are, taken together.
func (s *schedule) before(job *cifile.Planned) outcome {
	count := make(map[outcome]int)
	for _, i := range job.After {
		now := s.now[i]
		if now == manual && !s.jobs[i].AllowFailure.Any {
			now = held // it stops what comes after it
		}
		count[now]++
	}
	switch {
	case count[waiting]+count[begun] > 0:
		return waiting
	case job.ByNeeds && count[manual]+count[held] > 0:
		return held
	case job.ByNeeds && count[skipped] > 0:
		return skipped
	case count[held] > 0:
		return held
	case count[failed]+count[canceled] > 0:
		return failed
	case count[skipped] > 0 && count[skipped]+count[manual] == len(job.After):
		return skipped
	default:
		return succeeded
	}
}

// end marks a job as ended.
func (s *schedule) end(i int, what outcome) { s.now[i] = what }

// done tells whether no job runs and none will.
func (s *schedule) done() bool {
	return !slices.ContainsFunc(s.now, func(o outcome) bool { return !o.ended() })
}

// cancel marks what has not begun.
func (s *schedule) cancel() {
	for i := range s.now {
		if s.now[i] == waiting {
			s.now[i] = canceled
		}
	}
}
