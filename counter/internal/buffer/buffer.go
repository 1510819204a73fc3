// Package buffer keeps in Redis what was counted and not flushed yet: for each shard
// the deltas of the events between two stamps, which are positions of the log. What
// a shard begins and ends at tells whether it belongs to what Postgres has, so that
// Redis may forget, or remember, whatever it likes.
package buffer

import (
	"errors"
	"fmt"
	"strings"

	"casq/counter/internal/tally"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrRedis marks errors of Redis, which is not needed to go on.
	ErrRedis = errors.New("redis")

	// ErrNotIntact says that keys of a shard are missing, or do not belong together.
	ErrNotIntact = errors.New("the shard in redis is not intact")
)

// Buffer is what Redis has of the counters: per shard, the deltas of the events
// between two stamps. frozen begins at the stamp that Postgres has, or ends
// there if its flush has committed; pending begins where frozen ends.
//
//	Postgres          frozen              pending
//	--------> @base ---------> @head = @base ---------> @head
//
// Both keys always exist and carry their stamps, so that one that was evicted,
// or comes from an older dump, is noticed.
type Buffer struct {
	redis     redis.UniversalClient
	namespace string
}

// New returns the buffer of the home database that the namespace is the name of: two
// of them can share a Redis.
func New(client redis.UniversalClient, namespace string) *Buffer {
	return &Buffer{client, namespace}
}

// Namespace is the name of the home database in Redis.
func (b *Buffer) Namespace() string { return b.namespace }

// Keys of a shard, pending and frozen: one hash slot on a cluster.
func (b *Buffer) Keys(shard int) []string {
	tag := fmt.Sprintf("casq:{%s:counters:%d}", b.namespace, shard)
	return []string{tag + ":pending", tag + ":frozen"}
}

// Parts of a counter, each a field of a shard: bytes below a limb, limbs, items.
const (
	lowPart   = "s"
	highPart  = "S"
	itemsPart = "i"
)

func field(part string, k tally.Key) string { return part + k.Kind + "\x00" + k.ScopeID }

// split is the inverse of field.
func split(name string) (part string, k tally.Key, ok bool) {
	if name == "" || name[0] == '@' {
		return "", k, false
	}
	kind, scope, found := strings.Cut(name[1:], "\x00")
	return name[:1], tally.Key{Kind: kind, ScopeID: scope}, found
}
