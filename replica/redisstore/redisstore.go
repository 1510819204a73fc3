package redisstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"casq/replica"

	"github.com/redis/go-redis/v9"
)

// Options of [New].
type Options struct {
	// Prefix begins each key. Two databases that share a Redis need two. Defaults to
	// "replica:".
	Prefix string
	// Timeout bounds a call. Defaults to 100 ms.
	Timeout time.Duration
	// Rest is for how long a tag whose call has failed is not asked again: the others
	// then do not wait for it. Defaults to 1 s.
	Rest time.Duration
}

// tags is how many hashes there are.
const tags = 16

// largestCall bounds the objects of one script.
const largestCall = 1000

// Store implements [replica.Store].
type Store struct {
	client  redis.UniversalClient
	cluster bool
	options Options
	keys    [tags]string
	// resting is until when, in nanoseconds since began, a tag is not asked.
	resting [tags]atomic.Int64
	began   time.Time
}

// New returns a store on client, which stays the caller's.
func New(client redis.UniversalClient, options Options) *Store {
	options.Prefix = cmp.Or(options.Prefix, "replica:")
	options.Timeout = cmp.Or(options.Timeout, 100*time.Millisecond)
	options.Rest = cmp.Or(options.Rest, time.Second)
	s := &Store{client: client, options: options, began: time.Now()}
	_, s.cluster = client.(*redis.ClusterClient)
	for tag := range tags {
		s.keys[tag] = fmt.Sprintf("%s{%d}", options.Prefix, tag)
	}
	return s
}

// field is an object's name in a hash: 16 bytes of SHA-256. If two objects had the
// same, each would be read from the primary for the other's writes, and never too
// early from a standby.
type field string

func fieldOf(object replica.Object) field {
	hash := sha256.New()
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(object.Namespace)))
	hash.Write(length[:])
	hash.Write([]byte(object.Namespace))
	hash.Write([]byte(object.ID))
	return field(hash.Sum(nil)[:16])
}

func (f field) tag() int { return int(f[0]) % tags }

// named is an object with its field.
type named struct {
	object replica.Object
	field  field
}

// byTag returns the objects of each tag.
func byTag(objects []replica.Object) (groups [tags][]named) {
	for _, object := range objects {
		f := fieldOf(object)
		groups[f.tag()] = append(groups[f.tag()], named{object, f})
	}
	return groups
}

// text returns a position as digits, which Lua compares as text.
func text(at replica.Position) string {
	if at.IsZero() {
		return ""
	}
	return fmt.Sprintf("%019d%020d", at.Timeline, at.LSN)
}

func position(text string) (replica.Position, error) {
	if text == "" {
		return replica.Position{}, nil
	}
	if len(text) != 39 {
		return replica.Position{}, fmt.Errorf("%.64q is no position", text)
	}
	timeline, err1 := strconv.ParseInt(text[:19], 10, 64)
	lsn, err2 := strconv.ParseUint(text[19:], 10, 64)
	if err := cmp.Or(err1, err2); err != nil {
		return replica.Position{}, fmt.Errorf("%.64q is no position", text)
	}
	return replica.Position{Timeline: timeline, LSN: lsn}, nil
}

// errResting is a tag whose last call failed a moment ago.
var errResting = errors.New("the store did not answer a moment ago")

func (s *Store) rests(tag int) bool {
	return time.Since(s.began) < time.Duration(s.resting[tag].Load())
}

// failed lets a tag rest, unless it is the caller who gave up.
func (s *Store) failed(ctx context.Context, tag int) {
	if ctx.Err() == nil {
		s.resting[tag].Store(int64(time.Since(s.began) + s.options.Rest))
	}
}

// Begin implements [replica.Store].
func (s *Store) Begin(ctx context.Context, objects []replica.Object, id string, timeline int64, xid uint64) error {
	return s.change(ctx, objects, beginScript, id, timeline, xid)
}

// End implements [replica.Store].
func (s *Store) End(ctx context.Context, objects []replica.Object, id string, at replica.Position) error {
	return s.change(ctx, objects, endScript, id, text(at))
}

// change runs a script with the objects of each tag. Some may have been changed when
// it fails; a second call does no harm.
func (s *Store) change(ctx context.Context, objects []replica.Object, script *redis.Script, args ...any) error {
	var calls []*call
	var of []int
	for tag, group := range byTag(objects) {
		if len(group) > 0 && s.rests(tag) {
			return errResting
		}
		for len(group) > 0 {
			part := group[:min(len(group), largestCall)]
			group = group[len(part):]
			c := &call{script: script, keys: []string{s.keys[tag]}, args: slices.Clip(args)}
			for _, object := range part {
				c.args = append(c.args, string(object.field))
			}
			calls, of = append(calls, c), append(of, tag)
		}
	}
	return s.run(ctx, calls, of)
}

// run sends calls, and joins their errors.
func (s *Store) run(ctx context.Context, calls []*call, of []int) error {
	if len(calls) == 0 {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	s.send(bounded, calls)
	var first error
	for i, c := range calls {
		if err := c.cmd.Err(); err != nil {
			s.failed(ctx, of[i])
			first = cmp.Or(first, err)
		}
	}
	if first != nil {
		return fmt.Errorf("change positions in Redis: %w", first)
	}
	return nil
}

// Raise implements [replica.Store]. Positions are dropped when it raises all floors.
func (s *Store) Raise(ctx context.Context, objects []replica.Object, to replica.Position, present bool) error {
	groups := byTag(objects)
	flag := "0"
	if present {
		flag = "1"
	}
	var calls []*call
	var of []int
	for tag := range tags {
		if len(objects) == 0 || len(groups[tag]) > 0 {
			calls = append(calls, &call{script: raiseScript, keys: []string{s.keys[tag]}, args: []any{text(to), flag}})
			of = append(of, tag)
		}
	}
	if err := s.run(ctx, calls, of); err != nil || len(objects) > 0 {
		return err
	}
	return s.sweep(ctx)
}

const (
	sweepFields = 500
	sweepParts  = 100
)

// sweep drops the positions that floors have reached, a bounded number of them.
func (s *Store) sweep(ctx context.Context) error {
	for tag := range tags {
		cursor := "0"
		for range sweepParts {
			c := &call{script: sweepScript, keys: []string{s.keys[tag]}, args: []any{cursor, sweepFields}}
			if err := s.run(ctx, []*call{c}, []int{tag}); err != nil {
				return err
			}
			cursor, _ = c.cmd.Text()
			if cursor == "0" || cursor == "" {
				break
			}
		}
	}
	return nil
}
