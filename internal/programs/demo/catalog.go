package main

import (
	"math/rand/v2"
	"sync"
)

// catalog is what the application knows to be there: artifacts whose rows are
// committed.
//
// mu guards the rest. index[path] is the artifact's place in live.
type catalog struct {
	mu    sync.Mutex
	live  []artifact
	index map[string]int
	ever  int // artifacts that were ever added
}

func newCatalog() *catalog { return &catalog{index: make(map[string]int)} }

// add adds an artifact, or replaces the one with its path.
func (c *catalog) add(a artifact) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, known := c.index[a.path]; known {
		c.live[i] = a
		return
	}
	c.index[a.path] = len(c.live)
	c.live = append(c.live, a)
	c.ever++
}

func (c *catalog) remove(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, known := c.index[path]
	if !known {
		return
	}
	last := len(c.live) - 1
	c.live[i] = c.live[last]
	c.index[c.live[i].path] = i
	c.live = c.live[:last]
	delete(c.index, path)
}

// largest is what an artifact that is changed has at most, in bytes: a change
// writes the whole file.
const largest = 1 << 20

// pick returns up to n different artifacts, at random.
func (c *catalog) pick(rng *rand.Rand, n int) []artifact {
	c.mu.Lock()
	defer c.mu.Unlock()
	var picked []artifact
	seen := make(map[int]bool)
	for range 4 * n {
		if len(picked) == n || len(c.live) == 0 {
			break
		}
		i := rng.IntN(len(c.live))
		if !seen[i] && c.live[i].size <= largest {
			seen[i] = true
			picked = append(picked, c.live[i])
		}
	}
	return picked
}

// known returns how many artifacts there ever were.
func (c *catalog) known() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ever
}
