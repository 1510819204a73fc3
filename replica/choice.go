package replica

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Reason is why a host was chosen.
type Reason uint8

// The first three are reads from a standby, the others are served by the primary.
const (
	// NothingWatched: the session expects nothing; a standby within MaxLag.
	NothingWatched Reason = iota
	// CaughtUp: the standby has everything that the session may expect.
	CaughtUp
	// Waited: it had, after a wait.
	Waited
	// NoneCaughtUp: no standby had the position of an object, or of a token.
	NoneCaughtUp
	// AfterWrite: no standby had what the session itself wrote.
	AfterWrite
	// BeingWritten: an object is about to be written, or its writer died.
	BeingWritten
	// Floor: no standby is above the floor of the store.
	Floor
	// StoreAway: the store of positions did not answer.
	StoreAway
	// Timeline: a position is of a history that this primary does not have.
	Timeline
	// ForeignToken: a token is no token, of another cluster, of a future, or unresolved.
	ForeignToken
	// Pinned: Session.Pin, or a monotonic session whose host is gone.
	Pinned
	// NoStandby: none is configured, or none can be used.
	NoStandby
	// Refused: a write came through the read door.
	Refused
	// NoSession: there is no session in the context.
	NoSession
	// Write: the write door.
	Write
	reasons
)

var reasonWords = [reasons]string{
	NothingWatched: "nothing watched",
	CaughtUp:       "caught up",
	Waited:         "waited for it",
	NoneCaughtUp:   "no standby caught up",
	AfterWrite:     "after a write of this session",
	BeingWritten:   "being written",
	Floor:          "no standby above the store's floor",
	StoreAway:      "the store of positions is away",
	Timeline:       "a position of another history",
	ForeignToken:   "a token that means nothing here",
	Pinned:         "pinned to the primary",
	NoStandby:      "no standby",
	Refused:        "a write through the read door",
	NoSession:      "no session",
	Write:          "the write door",
}

func (r Reason) String() string {
	if r < reasons {
		return reasonWords[r]
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// Standby says whether a standby served.
func (r Reason) Standby() bool { return r <= Waited }

// Choice is one decision on where a statement goes.
type Choice struct {
	// Host is the standby's address and port, or "primary".
	Host   string
	Reason Reason
	// Need is what the session expects, At what the standby is known to have.
	Need, At Position
	// Waited is how long the read waited for a standby, in vain or not.
	Waited time.Duration
}

// String returns the choice as a sentence.
func (c Choice) String() string {
	text := c.Host + ": " + c.Reason.String()
	if !c.Need.IsZero() {
		text += "; the session needs " + c.Need.String()
	}
	if !c.At.IsZero() {
		text += ", the standby has at least " + c.At.String()
	}
	if c.Waited > 0 {
		text += fmt.Sprintf("; waited %s", c.Waited.Round(100*time.Microsecond))
	}
	return text
}

const primaryName = "primary"

// Counts are totals since [New].
type Counts struct {
	// Choices are the statements sent, by reason.
	Choices map[Reason]int64
	// Unmarked are commits of watched objects that could not be noted in the store first.
	Unmarked int64
	// Unresolved are commits whose answer, or position, was lost.
	Unresolved int64
	// Retried are reads that went to another host after an error of the first.
	Retried int64
	// Audits are of reads that were compared with the primary ([Options.Audit]).
	Audits Audits
}

type counters struct {
	choices                       [reasons]atomic.Int64
	unmarked, unresolved, retried atomic.Int64
}

// Counts returns what has been counted since [New].
func (db *DB) Counts() Counts {
	counts := Counts{
		Choices:    make(map[Reason]int64, reasons),
		Unmarked:   db.counters.unmarked.Load(),
		Unresolved: db.counters.unresolved.Load(),
		Retried:    db.counters.retried.Load(),
		Audits:     db.auditor.counts(),
	}
	for reason := range reasons {
		if n := db.counters.choices[reason].Load(); n > 0 {
			counts.Choices[reason] = n
		}
	}
	return counts
}

func (db *DB) chose(ctx context.Context, s *Session, choice Choice) {
	db.counters.choices[choice.Reason].Add(1)
	if s != nil {
		s.chose(choice)
	}
	if db.options.OnChoice != nil {
		db.options.OnChoice(ctx, choice)
	}
}
