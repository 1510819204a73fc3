// Package portion finds how much can be read, sent and written at once: as much as
// is wanted, until a time-out or a connection that broke off says that it may have
// been too much. On a slow link a page that is nothing on a fast one takes longer
// than a session may be idle, each time that it is tried.
package portion

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"

	"casq/internal/database"
)

// Size is the most that a portion has.
type Size struct {
	Rows  int
	Bytes int64
}

// Portion is what to try next. The zero value does not work: see [New].
type Portion struct {
	whole Size

	mu     sync.Mutex
	halved int
	well   int // successes in a row
}

// enough is how many portions in a row have to go well before a larger one is
// tried: each that is too large costs a time-out.
const enough = 16

// New returns one that begins with as much as is wanted.
func New(whole Size) *Portion { return &Portion{whole: whole} }

// Size returns how much to try.
func (p *Portion) Size() Size {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size()
}

func (p *Portion) size() Size {
	return Size{Rows: max(p.whole.Rows>>p.halved, 1), Bytes: max(p.whole.Bytes>>p.halved, 1)}
}

// Did notes how a portion went, and tells whether it is worth trying a smaller
// one. What says nothing about the size changes nothing.
func (p *Portion) Did(err error) (smaller bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.well++
		if p.well >= enough && p.halved > 0 {
			p.well, p.halved = 0, p.halved-1
		}
		return false
	}
	if !TooMuch(err) {
		return false
	}
	p.well = 0
	if p.size().Rows == 1 {
		return false
	}
	p.halved++
	return true
}

// TooMuch tells whether an error may come of the size of what was tried: a
// statement that was cancelled (57014), a session that was idle for too long inside
// a transaction or a transaction that lasted too long (25P03, 25P04), a limit of the
// program (class 54), no memory (53200), or a connection that broke off.
func TooMuch(err error) bool {
	switch code := database.Code(err); {
	case code == "57014", code == "25P03", code == "25P04", code == "53200":
		return true
	case code != "":
		return strings.HasPrefix(code, "54") || strings.HasPrefix(code, "08")
	}
	_, isNet := errors.AsType[net.Error](err)
	return isNet && !errors.Is(err, context.Canceled) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}
