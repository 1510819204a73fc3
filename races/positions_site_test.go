package races

import (
	"context"
	"errors"
	"strconv"
	"testing"

	"casq/replica"

	"github.com/redis/go-redis/v9"
)

// positionsSite is a replica site whose document "a" is read through a store that is
// ready: a floor of now would hide what a race does.
type positionsSite struct {
	*replicaSite
	client redis.UniversalClient
	store  replica.Store
	reader *replica.DB
	// writer has no store: the test stores its positions.
	writer *replica.DB
}

func newPositionsSite(t *testing.T, readFrom ...int) *positionsSite {
	t.Helper()
	p := &positionsSite{replicaSite: newReplicaSite(t)}
	client, open := newPositions(t)
	p.client, p.store = client, open()
	p.reader = p.open(t, replica.Options{Store: p.store, Wait: -1}, readFrom...)
	p.writer = p.open(t, replica.Options{Wait: -1})
	p.naiveWrite(t, "a", "old")
	p.CatchUp(t)
	standbyAgain(t, p.session, "a", "old")
	return p
}

func (p *positionsSite) session() *replica.Session { return p.reader.Session(document("a")) }

// write writes "a" past the store, and returns where.
func (p *positionsSite) write(t *testing.T, text string) replica.Position {
	t.Helper()
	s := p.writer.Session()
	sessionWrite(t, s, "a", text)
	at, err := replica.ParseToken(s.Token(t.Context()))
	must(t, err)
	return at
}

// stick stores a position of "a".
func (p *positionsSite) stick(t *testing.T, at replica.Position) {
	t.Helper()
	must(t, p.store.End(t.Context(), []replica.Object{document("a")}, "", at))
}

// naiveStick and naiveNeed are the store of one key for each object.
func (p *positionsSite) naiveStick(t *testing.T, at replica.Position) {
	t.Helper()
	must(t, p.client.Set(t.Context(), "twin", strconv.FormatUint(at.LSN, 10), 0).Err())
}

// naiveFresh says whether a standby has what the key names. A missing key is fine.
func (p *positionsSite) naiveFresh(t *testing.T, standby int) bool {
	t.Helper()
	need, err := p.client.Get(t.Context(), "twin").Int64()
	if errors.Is(err, redis.Nil) {
		return true
	}
	must(t, err)
	return p.replayed(t, standby) >= lsn(need)
}

// wantStaleTwin says that the naive store lets a late standby serve.
func (p *positionsSite) wantStaleTwin(t *testing.T, standby int, newest string) {
	t.Helper()
	if !p.naiveFresh(t, standby) || body(t, p.standby[standby], "a") == newest {
		t.Error("the twin is not stale")
	}
}

// deadWriter is the store of a process that dies, or loses the store, after a commit:
// its marks are set, and nothing else comes through.
type deadWriter struct{ replica.Store }

var errDead = errors.New("the process is dead")

func (deadWriter) End(context.Context, []replica.Object, string, replica.Position) error {
	return errDead
}

func (deadWriter) Raise(context.Context, []replica.Object, replica.Position, string) error {
	return errDead
}
