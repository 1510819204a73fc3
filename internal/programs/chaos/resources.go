package main

import (
	"slices"
	"sync"
)

// resources are what faults must not pull at from two sides: a server that is
// being promoted is not restarted. A fault that needs one waits for it; those
// that need different ones happen at the same time.
type resources struct {
	mu    sync.Mutex
	locks map[string]*sync.Mutex
}

const (
	resourceSource  = "source" // the primary and its standby
	resourceHome    = "home"
	resourceRedis   = "redis"
	resourceTables  = "tables"  // the application's
	resourceTargets = "targets" // the second site's folders
	resourceSources = "sources" // the first site's
)

// hold waits for resources, in their order, and returns what gives them back.
func (r *resources) hold(names ...string) (release func()) {
	slices.Sort(names)
	names = slices.Compact(names)
	var held []*sync.Mutex
	for _, name := range names {
		lock := r.lock(name)
		lock.Lock()
		held = append(held, lock)
	}
	return func() {
		for _, lock := range held {
			lock.Unlock()
		}
	}
}

// try is hold for one resource that is free at present.
func (r *resources) try(name string) (release func(), ok bool) {
	lock := r.lock(name)
	return lock.Unlock, lock.TryLock()
}

func (r *resources) lock(name string) *sync.Mutex {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.locks == nil {
		r.locks = make(map[string]*sync.Mutex)
	}
	if r.locks[name] == nil {
		r.locks[name] = new(sync.Mutex)
	}
	return r.locks[name]
}
