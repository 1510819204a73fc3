package replica

import "sync"

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
