package replica

import (
	"strings"
	"sync"
)

// refusals are texts of statements that came through the read door and were
// refused as writes.
type refusals struct {
	mu    sync.RWMutex
	texts map[string]struct{}
}

const rememberedRefusals = 1024

func (r *refusals) has(sql string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	_, refused := r.texts[sql]
	return refused
}

func (r *refusals) add(sql string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.texts == nil || len(r.texts) >= rememberedRefusals {
		r.texts = make(map[string]struct{}) // They are met again, at the price of a refusal each.
	}
	r.texts[sql] = struct{}{}
}

// writes says whether a text begins as a write does. That is no parser, and need not
// be one: the write door is right for every statement, and what this does not see is
// refused once. It spares that refusal to those who have their values in the text, so
// that each of their texts is new.
func writes(sql string) bool { return verb(sql, "INSERT", "UPDATE", "DELETE", "MERGE") }

// verb says whether a text begins with one of words.
func verb(sql string, words ...string) bool {
	first := strings.TrimLeft(sql, " \t\r\n;(")
	for strings.HasPrefix(first, "--") { // sqlc has the query's name there.
		_, first, _ = strings.Cut(first, "\n")
		first = strings.TrimLeft(first, " \t\r\n;(")
	}
	if end := strings.IndexAny(first, " \t\r\n/"); end >= 0 {
		first = first[:end]
	}
	for _, word := range words {
		if len(first) == len(word) && strings.EqualFold(first, word) {
			return true
		}
	}
	return false
}
