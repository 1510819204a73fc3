package reads

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"casq/internal/testing/servers"
	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"

	"github.com/redis/go-redis/v9"
)

// positionsSite is a replica site whose document "a" is read through a store that is
// ready: a floor of now would hide what a race does.
type positionsSite struct {
	*replicaSite
	redis  *servers.Redis
	client redis.UniversalClient
	store  replica.Store
	reader *replica.DB
	// writer has no store: the test stores its positions.
	writer *replica.DB
}

func newPositionsSite(t *testing.T, readFrom ...int) *positionsSite {
	t.Helper()
	p := &positionsSite{replicaSite: newReplicaSite(t)}
	p.redis = testredis.Start(t)
	p.client = testredis.Client(t, p.redis)
	p.store = redisstore.New(p.client, redisstore.Options{Timeout: 10 * time.Second})
	p.reader = p.open(t, replica.Options{Store: p.store, Wait: -1}, readFrom...)
	p.writer = p.open(t, replica.Options{Wait: -1})
	p.naiveWrite(t, "a", "old")
	p.CatchUp(t)
	standbyAgain(t, p.session, "a", "old")
	return p
}

func (p *positionsSite) session() *replica.Session { return p.reader.Session(document("a")) }

// dyingWriter is a process that writes "a" and is killed at a point.
func (p *positionsSite) dyingWriter(at, text string) dyingWriter {
	return dyingWriter{URL: p.Cluster.URL(), Redis: p.redis.URL(), At: at, ID: "a", Text: text}
}

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
