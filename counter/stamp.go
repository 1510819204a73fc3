package counter

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"casq/eventlog"

	"github.com/google/uuid"
)

// stamp is a position as Redis keeps it. Nonces are random, so a stamp names one
// point of one log, also after a failover that issued its tick ids again.
type stamp string

var errBadStamp = errors.New("this is no stamp")

func stampOf(p eventlog.Position) stamp {
	return stamp(fmt.Sprintf("%d/%d/%s/%d/%s/%d/%s/%d", p.System, p.Timeline.Ordinal, p.Timeline.ID,
		p.Tick, p.Nonce, p.ToTick, p.ToNonce, p.Page))
}

// position is the inverse of stampOf.
func (s stamp) position() (p eventlog.Position, err error) {
	parts := strings.Split(string(s), "/")
	if len(parts) != 8 {
		return p, fmt.Errorf("%w: %q", errBadStamp, string(s))
	}
	number := func(i int) int64 {
		n, parseErr := strconv.ParseInt(parts[i], 10, 64)
		err = errors.Join(err, parseErr)
		return n
	}
	id := func(i int) uuid.UUID {
		u, parseErr := uuid.Parse(parts[i])
		err = errors.Join(err, parseErr)
		return u
	}
	p = eventlog.Position{
		System: number(0), Timeline: eventlog.Timeline{Ordinal: int32(number(1)), ID: id(2)}, // an ordinal that was written from one
		Tick: number(3), Nonce: id(4), ToTick: number(5), ToNonce: id(6), Page: number(7),
	}
	if err != nil {
		return eventlog.Position{}, fmt.Errorf("%w: %q: %w", errBadStamp, string(s), err)
	}
	return p, nil
}
