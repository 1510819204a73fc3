package localrun

import (
	"fmt"
	"strings"
	"testing"

	"casq/internal/cifile"
)

// Each row: what the jobs before are, by stages and by needs, and what becomes of a job.
func TestScheduleGoesByWhatIsBefore(t *testing.T) {
	t.Parallel()
	type row map[cifile.When][2]outcome // by stages, by needs
	for before, want := range map[string]row{
		"":                  {cifile.OnSuccess: {begun, begun}, cifile.OnFailure: {skipped, skipped}, cifile.Always: {begun, begun}, cifile.Manual: {manual, manual}},
		"success":           {cifile.OnSuccess: {begun, begun}, cifile.OnFailure: {skipped, skipped}, cifile.Always: {begun, begun}},
		"success, failed":   {cifile.OnSuccess: {skipped, skipped}, cifile.OnFailure: {begun, begun}, cifile.Always: {begun, begun}, cifile.Manual: {skipped, skipped}},
		"failed, as it may": {cifile.OnSuccess: {begun, begun}, cifile.OnFailure: {skipped, skipped}},
		"success, skipped":  {cifile.OnSuccess: {begun, skipped}, cifile.Always: {begun, skipped}},
		"skipped":           {cifile.OnSuccess: {begun, skipped}, cifile.Always: {begun, skipped}},
		"running, failed":   {cifile.OnSuccess: {waiting, waiting}, cifile.OnFailure: {waiting, waiting}},
		"manual":            {cifile.OnSuccess: {begun, held}},
		"blocking":          {cifile.OnSuccess: {held, held}, cifile.Always: {held, held}},
		"blocking, failed":  {cifile.Always: {held, held}},
		"canceled":          {cifile.OnSuccess: {skipped, skipped}, cifile.OnFailure: {begun, begun}},
		"waiting":           {cifile.OnSuccess: {waiting, waiting}},
		"held back":         {cifile.OnSuccess: {held, held}},
	} {
		for when, outcomes := range want {
			for k, expected := range outcomes {
				if got := decided(before, when, k == 1); got != expected {
					t.Errorf("after %q, when %s, by needs %v: %s, want %s", before, when, k == 1, got, expected)
				}
			}
		}
	}
}

func decided(before string, when cifile.When, byNeeds bool) outcome {
	job := &cifile.Planned{When: when, ByNeeds: byNeeds}
	s := newSchedule(nil)
	for name := range strings.SplitSeq(strings.ReplaceAll(before, "failed, as", "failed; as"), ", ") {
		if name == "" {
			continue
		}
		other := &cifile.Planned{AllowFailure: cifile.Allow{Any: name != "blocking"}}
		if name == "blocking" {
			name = string(manual)
		}
		job.After = append(job.After, len(s.jobs))
		s.jobs, s.now = append(s.jobs, other), append(s.now, outcome(strings.ReplaceAll(name, ";", ",")))
	}
	s.jobs, s.now = append(s.jobs, job), append(s.now, waiting)
	return s.decide(job)
}

// A schedule comes to its end.
func TestScheduleEnds(t *testing.T) {
	t.Parallel()
	s := newSchedule([]*cifile.Planned{
		{When: cifile.OnSuccess}, {When: cifile.Manual, Chosen: true, After: []int{0}}, {When: cifile.OnSuccess, After: []int{0, 1}},
	})
	var order []string
	for !s.done() {
		began := s.next()
		order = append(order, fmt.Sprint(began))
		for _, i := range began {
			s.end(i, succeeded)
		}
	}
	if got := strings.Join(order, " "); got != "[0] [1] [2]" {
		t.Errorf("they began as %s", got)
	}
	s.now[2] = waiting
	s.cancel()
	if !s.done() || s.now[2] != canceled {
		t.Errorf("after a cancel: %v", s.now)
	}
}
