package worker

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"casq/internal/database"
)

// roles is what this worker does at present, for /readyz and the log.
//
// mu guards what follows it.
type roles struct {
	mu    sync.Mutex
	state map[string]roleState
	// waiting is what has to be there before there is any role.
	waiting string
	// changed has something in it when a role came or went, became ready, or is not any more.
	changed chan struct{}
}

type roleState struct {
	Ready bool   `json:"ready"`
	Error string `json:"error,omitempty"`
	// Warning is what an operator should see to, of a role that does its part.
	Warning string `json:"warning,omitempty"`

	since time.Time // Ready is so
}

func newRoles() *roles {
	return &roles{state: make(map[string]roleState), changed: make(chan struct{}, 1)}
}

// change is called with mu held.
func (r *roles) change() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// set returns true for a role that is new.
func (r *roles) set(name string, ready bool, reason string) (taken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, had := r.state[name]
	now := roleState{ready, reason, was.Warning, was.since}
	if !had || was.Ready != ready {
		now.since = time.Now()
		r.change()
	}
	r.state[name] = now
	return !had
}

// end notes how a role's last try has ended.
func (r *roles) end(name string, err error) {
	if err != nil {
		r.set(name, false, database.Explain(err))
		return
	}
	r.set(name, true, "")
}

// warn sets the warning of a role that there is; "" takes it back.
func (r *roles) warn(name, warning string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, there := r.state[name]; there {
		s.Warning = warning
		r.state[name] = s
	}
}

// drop returns true for a role that was there.
func (r *roles) drop(name string) (dropped bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, had := r.state[name]
	delete(r.state, name)
	if had {
		r.change()
	}
	return had
}

// wait says what is waited for before there is any role; "" ends it.
func (r *roles) wait(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting = what
	r.change()
}

func (r *roles) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := slices.AppendSeq(make([]string, 0, len(r.state)), maps.Keys(r.state))
	slices.Sort(names)
	return names
}

// toldRole is a role as home's row of this worker has it.
type toldRole struct {
	roleState
	Seconds float64 `json:"seconds"` // it has been ready, or not, for so long
}

// told returns all roles, and what is waited for before there is any.
func (r *roles) told(now time.Time) (state map[string]toldRole, waiting string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	state = make(map[string]toldRole, len(r.state))
	for name, s := range r.state {
		state[name] = toldRole{s, now.Sub(s.since).Seconds()}
	}
	return state, r.waiting
}

// snapshot returns all roles, and what keeps the worker from being ready: what it
// waits for, or else the roles that are not; "" when it is ready.
func (r *roles) snapshot() (state map[string]roleState, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var missing []string
	for name, s := range r.state {
		if !s.Ready {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	switch {
	case r.waiting != "":
		reason = "waiting for " + r.waiting
	case len(missing) > 0:
		reason = "not ready: " + strings.Join(missing, ", ")
	case len(r.state) == 0:
		reason = "nothing to do: no table is tracked here, and no target and no address for runners is set"
	}
	return maps.Clone(r.state), reason
}
