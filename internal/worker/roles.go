package worker

import (
	"maps"
	"slices"
	"sync"
)

// roles is what this worker does at present, for /readyz and the log.
//
// mu guards state.
type roles struct {
	mu    sync.Mutex
	state map[string]roleState
}

type roleState struct {
	Ready bool   `json:"ready"`
	Error string `json:"error,omitempty"`
}

func newRoles() *roles { return &roles{state: make(map[string]roleState)} }

func (r *roles) set(name string, ready bool, reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state[name] = roleState{ready, reason}
}

func (r *roles) drop(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.state, name)
}

func (r *roles) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.state))
}

// snapshot returns all roles, and whether each of them is ready.
func (r *roles) snapshot() (map[string]roleState, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ready := len(r.state) > 0
	for _, s := range r.state {
		ready = ready && s.Ready
	}
	return maps.Clone(r.state), ready
}
