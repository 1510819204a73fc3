package replica

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	for _, at := range []Position{{}, {1, 0}, {1 << 58, 1<<64 - 1}, {42, 0x16B374D848}} {
		if got, err := ParseToken(at.Token()); err != nil || got != at {
			t.Errorf("%s came back as %s, %v", at, got, err)
		}
	}
	for _, text := range []string{
		"v1", "v1.", "v1.1", "v1..", "v1.x.1", "v1.1.x", "v1.-1.1", "v1.0.1", "v2.1.1", "1.1", unresolvedToken,
		"v1.1.1ffffffffffffffff", "v1.9999999999999999999.1", "v1.1.1 ", "\x00", strings.Repeat("v1.1.1", 1000),
	} {
		if got, err := ParseToken(text); !errors.Is(err, ErrToken) || !got.IsZero() || len(err.Error()) > 300 {
			t.Errorf("%.80q was read as %s, %v", text, got, err)
		}
	}
}

func TestPositionsOrder(t *testing.T) {
	t.Parallel()
	order := []Position{{}, {1, 5}, {1, 6}, {2, 1}, {3, 0}}
	for i, p := range order {
		for j, q := range order {
			if got, want := p.covers(q), i >= j; got != want {
				t.Errorf("%s covers %s: %t", p, q, got)
			}
			if got, want := p.Compare(q) < 0, i < j; got != want {
				t.Errorf("%s before %s: %t", p, q, got)
			}
			if got, want := later(p, q), order[max(i, j)]; got != want {
				t.Errorf("the later of %s and %s is %s", p, q, got)
			}
		}
	}
}

func TestEndOfRecord(t *testing.T) {
	t.Parallel()
	const page, segment = 8192, 16 << 20
	layout := wal{page, segment}
	for _, test := range []struct{ insert, end uint64 }{
		{3*segment + 5*page, 3*segment + 5*page},           // as replay says it
		{3*segment + 5*page + 24, 3*segment + 5*page},      // behind a page's header
		{3*segment + 40, 3 * segment},                      // behind a segment's
		{3*segment + 5*page + 40, 3*segment + 5*page + 40}, // a record ends there
		{3*segment + 5*page + 32, 3*segment + 5*page + 32}, // the end of one that was continued
		{3*segment + 5*page + 104, 3*segment + 5*page + 104},
	} {
		if got := layout.endOfRecord(test.insert); got != test.end {
			t.Errorf("%X ends at %X, want %X", test.insert, got, test.end)
		}
	}
}

// TestProofHoldsWhileTheConnectionIsOpen: what another connection was told counts
// only when it was asked after this one was open: a standby whose backend crashed
// throws all of them out, and replays again from further back.
func TestProofHoldsWhileTheConnectionIsOpen(t *testing.T) {
	t.Parallel()
	began := time.Now()
	shared := &server{}
	shared.learn(&sample{at: Position{1, 200}, standby: true, asked: began})
	own := &sample{at: Position{1, 100}, standby: true, asked: began.Add(time.Second)}
	p := &proof{server: shared, own: own, met: began.Add(2 * time.Second)}
	if p.covers(Position{1, 150}) {
		t.Error("an answer from before the connection was believed")
	}
	shared.learn(&sample{at: Position{1, 160}, standby: true, asked: began.Add(3 * time.Second)})
	if !p.covers(Position{1, 150}) || p.covers(Position{1, 170}) {
		t.Error("a newer answer was not believed")
	}
	shared.learn(&sample{at: Position{1, 300}, standby: true, asked: began.Add(time.Second)})
	if got := shared.newest.Load().at.LSN; got != 160 {
		t.Errorf("an answer that came late replaced a newer one: %d", got)
	}
}

// BenchmarkDecision is all that a read of a session with a token decides by, from what it
// must meet to the proof of its connection; the session, the connection and the record of
// the choice are not in it.
func BenchmarkDecision(b *testing.B) {
	ctx := b.Context()
	db := &DB{primary: &primary{}}
	db.primary.note(Position{1, 300})
	hosts := make([]*host, 3)
	for i := range hosts {
		hosts[i] = &host{db: db}
		found := &server{}
		found.learn(&sample{at: Position{1, uint64(100 * i)}, standby: true, asked: time.Now()})
		hosts[i].state.Store(&hostState{server: found})
	}
	db.hosts.Store(&hosts)
	s := db.Session()
	s.Carry(Position{1, 150}.Token())
	own := hosts[2].state.Load().server
	known := &proof{server: own, own: own.newest.Load()}
	b.ReportAllocs()
	for b.Loop() {
		e := s.expect(ctx)
		if h := db.pick(e, nil); h != hosts[2] || !h.proven(known, e.need) {
			b.Fatal("none has it")
		}
	}
}
