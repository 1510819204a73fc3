package process

import (
	"time"

	"github.com/google/uuid"
)

// beatOf is another process's row as it was read.
type beatOf struct {
	ID   uuid.UUID
	Beat int64
}

// tracker decides which processes are dead, by this process's monotonic clock
// alone. An observation more than gap after the last one proves nothing about
// the time between: the database may have been away, for them as for us, so
// each process gets its full time again.
type tracker struct {
	ttl, gap time.Duration
	last     time.Time
	since    map[uuid.UUID]stand
}

type stand struct {
	beat int64
	at   time.Time
}

// observe takes what was read at now and returns the processes that have stood
// still for all of ttl.
func (t *tracker) observe(now time.Time, beats []beatOf) []beatOf {
	outage := now.Sub(t.last) > t.gap
	t.last = now
	fresh := make(map[uuid.UUID]stand, len(beats))
	var dead []beatOf
	for _, b := range beats {
		s, known := t.since[b.ID]
		if !known || s.beat != b.Beat || outage {
			s = stand{b.Beat, now}
		}
		fresh[b.ID] = s
		if now.Sub(s.at) >= t.ttl {
			dead = append(dead, b)
		}
	}
	t.since = fresh
	return dead
}
