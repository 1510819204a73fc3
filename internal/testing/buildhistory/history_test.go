package buildhistory

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var limits = Limits{StartWithin: 10 * time.Second, SilentAfter: time.Minute}

// play has steps one after the other, a second each, but for a wait before some.
func play(steps ...step) *History {
	h := New()
	at := time.Duration(0)
	for _, s := range steps {
		at += s.asked + time.Second
		o := h.operation(h.began.Add(at), s)
		s.asked, s.answered = at, at+time.Second/2
		o.Input = s
		if s.outcome != Unknown {
			o.Return = int64(s.answered)
		}
		if s.what == jumped || s.what == rewound {
			h.jumps = append(h.jumps, o)
		} else {
			h.builds[1] = append(h.builds[1], o)
		}
	}
	return h
}

func TestHistoriesThatAreRightAndWrong(t *testing.T) {
	t.Parallel()
	pick := func(token string) step { return step{what: picked, token: token, outcome: Accepted} }
	say := func(token string, o Outcome) step { return step{what: said, token: token, outcome: o} }
	finish := func(token string, o Outcome) step { return step{what: finished, token: token, outcome: o} }
	retry := step{what: retried, outcome: Accepted}
	later := func(d time.Duration, s step) step { s.asked = d; return s }
	for name, c := range map[string]struct {
		right bool
		steps []step
	}{
		"one attempt":                      {true, []step{pick("a"), say("a", Accepted), finish("a", Accepted), say("a", Accepted)}},
		"two live attempts":                {false, []step{pick("a"), say("a", Accepted), pick("b")}},
		"given away before its time":       {false, []step{pick("a"), pick("b")}},
		"given away in time":               {true, []step{pick("a"), later(10*time.Second, pick("b")), say("a", Refused)}},
		"the old attempt is heard":         {false, []step{pick("a"), later(10*time.Second, pick("b")), say("a", Accepted)}},
		"the newest attempt is refused":    {false, []step{pick("a"), say("a", Accepted), say("a", Refused)}},
		"refused because it was late":      {true, []step{pick("a"), later(10*time.Second, say("a", Refused)), pick("b")}},
		"ended and handed out again":       {false, []step{pick("a"), finish("a", Accepted), pick("b")}},
		"ended, retried, handed out again": {true, []step{pick("a"), finish("a", Accepted), retry, pick("b"), say("a", Refused)}},
		"retried while it runs":            {false, []step{pick("a"), say("a", Accepted), retry}},
		"retried after its runner's silence": {true, []step{
			pick("a"), say("a", Accepted), later(time.Minute, retry), pick("b")}},
		"its end had no answer": {true, []step{pick("a"), finish("a", Unknown), retry, pick("b")}},
		"canceled at once while it runs": {false, []step{
			pick("a"), say("a", Accepted), {what: canceled, outcome: Accepted}}},
		"told to stop": {true, []step{
			pick("a"), say("a", Accepted), {what: canceling, outcome: Accepted}, finish("a", Accepted), retry, pick("b")}},
		"the pick was lost": {true, []step{
			pick("a"), finish("a", Accepted), retry, pick("b"), {what: rewound}, say("a", Accepted), say("b", Refused)}},
		"what was lost comes back": {false, []step{
			pick("a"), finish("a", Accepted), retry, pick("b"), {what: rewound}, say("a", Accepted), say("b", Accepted)}},
		"deadlines jump with the clock": {true, []step{pick("a"), {what: jumped}, pick("b"), say("a", Refused)}},
		"nothing is lost with it":       {false, []step{pick("a"), {what: jumped}, pick("b"), say("a", Accepted)}},
	} {
		if wrong := play(c.steps...).Check(limits); (len(wrong) == 0) != c.right {
			t.Errorf("%s: found %v", name, wrong)
		}
	}
}
