package process

import "time"

// Detector measures how long others stand still, by this process's monotonic clock
// alone. Two observations that lie more than half of the time apart prove nothing about
// the time between: the database may have been away, for the others as for us, and so
// each has its full time again. So has one that was not among those observed before.
//
// Beats are compared for being the same, and not for their order: a beat that goes
// backwards is one.
type Detector[ID, Beat comparable] struct {
	ttl   time.Duration
	last  time.Time // end of the last observation
	since map[ID]stand[Beat]
}

type stand[Beat comparable] struct {
	beat Beat
	at   time.Time
}

// NewDetector returns a detector that gives each of the others ttl.
func NewDetector[ID, Beat comparable](ttl time.Duration) *Detector[ID, Beat] {
	return &Detector[ID, Beat]{ttl: ttl}
}

// Observe takes the beats of all that are to move, as they were read between two
// times, and returns how much time each has left: one with none has stood still for all
// of it. A standstill counts from the end of the observation that found it to the
// beginning of this one: the longer these take, the more the others have.
func (d *Detector[ID, Beat]) Observe(began, ended time.Time, beats map[ID]Beat) (left map[ID]time.Duration) {
	outage := ended.Sub(d.last) > d.ttl/2
	d.last = ended
	since := make(map[ID]stand[Beat], len(beats))
	left = make(map[ID]time.Duration, len(beats))
	for id, beat := range beats {
		s, known := d.since[id]
		if !known || s.beat != beat || outage {
			s = stand[Beat]{beat, ended}
		}
		since[id] = s
		left[id] = d.ttl - max(began.Sub(s.at), 0)
	}
	d.since = since
	return left
}
