package replica

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Position is a place in the write-ahead log of a primary.
//
// Timeline is the number of a row of server_timelines: it orders what was written
// between two promotions, and identifies it: sister promotions of one server,
// and servers of other clusters, have other numbers. LSN is Postgres' log sequence
// number, in bytes.
type Position struct {
	Timeline int64
	LSN      uint64
}

// Compare orders positions by timeline and then by LSN.
//
// A host whose newest timeline is newer than the one of p has replayed the row that
// began it. So it has everything of p's timeline that was not lost, whatever the LSN.
func (p Position) Compare(q Position) int {
	if c := cmp.Compare(p.Timeline, q.Timeline); c != 0 {
		return c
	}
	return cmp.Compare(p.LSN, q.LSN)
}

// IsZero says whether p is no position: before everything.
func (p Position) IsZero() bool { return p == Position{} }

// String returns p as people read it, the LSN as Postgres writes it.
func (p Position) String() string {
	if p.IsZero() {
		return "the beginning"
	}
	return fmt.Sprintf("%X/%X of timeline %d", p.LSN>>32, uint32(p.LSN), p.Timeline)
}

// covers says whether a host at p has everything up to need.
func (p Position) covers(need Position) bool {
	return p.Timeline > need.Timeline || p.Timeline == need.Timeline && p.LSN >= need.LSN
}

func later(p, q Position) Position {
	if p.covers(q) {
		return p
	}
	return q
}

const (
	tokenPrefix     = "v1."
	unresolvedToken = tokenPrefix + "unresolved"
	longestToken    = 64
)

// Token returns p as text for a header, cookie or message: v1.<timeline>.<LSN in
// hexadecimal>. The zero position is "".
func (p Position) Token() string {
	if p.IsZero() {
		return ""
	}
	return tokenPrefix + strconv.FormatInt(p.Timeline, 10) + "." + strconv.FormatUint(p.LSN, 16)
}

// ErrToken says that a text is no token of this package.
var ErrToken = errors.New("not a position token")

// ParseToken reads what [Position.Token] wrote.
func ParseToken(token string) (Position, error) {
	if token == "" {
		return Position{}, nil
	}
	fail := func(why string) (Position, error) {
		return Position{}, fmt.Errorf("%w: %.*q %s; a token is v1.<timeline>.<LSN in hexadecimal>", ErrToken, longestToken, token, why)
	}
	if len(token) > longestToken {
		return fail("is too long")
	}
	rest, ok := strings.CutPrefix(token, tokenPrefix)
	if !ok {
		return fail("does not begin with v1.")
	}
	line, at, ok := strings.Cut(rest, ".")
	if !ok {
		return fail("names no LSN")
	}
	timeline, err := strconv.ParseInt(line, 10, 64)
	if err != nil || timeline <= 0 {
		return fail("names no timeline")
	}
	lsn, err := strconv.ParseUint(at, 16, 64)
	if err != nil {
		return fail("names no LSN")
	}
	return Position{Timeline: timeline, LSN: lsn}, nil
}

func parseLSN(text string) (uint64, error) {
	high, low, ok := strings.Cut(text, "/")
	h, err1 := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, fmt.Errorf("%.64q is no LSN", text)
	}
	return h<<32 | l, nil
}

// wal is the layout of a cluster's log, fixed when the cluster was made.
type wal struct{ block, segment uint64 }

const shortHeader, longHeader = 24, 40

// endOfRecord returns where the last record before an insert position ends.
//
// When that record fills its page, pg_current_wal_insert_lsn() already stands behind
// the next page's header, 24 bytes of it, or 40 where a segment begins. No record
// ends there: a standby that has replayed everything stands at the page's start, and
// would stay below such a position for as long as nothing else is written.
func (w wal) endOfRecord(lsn uint64) uint64 {
	switch {
	case w.segment > 0 && lsn%w.segment == longHeader:
		return lsn - longHeader
	case w.block > 0 && lsn%w.block == shortHeader && (w.segment == 0 || lsn%w.segment > longHeader):
		return lsn - shortHeader
	default:
		return lsn
	}
}
