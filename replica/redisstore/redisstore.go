package redisstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"casq/replica"
	"casq/replica/internal/bound"

	"github.com/redis/go-redis/v9"
)

// Options of [New].
type Options struct {
	// Prefix begins each key. Two databases that share a Redis need two. Defaults to
	// "replica:".
	Prefix string
	// Timeout bounds a call. Defaults to 100 ms. A client with ContextTimeoutEnabled gives
	// up a call then; one without is left to its own time-outs, in the background.
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
	client       redis.UniversalClient
	heedsContext bool
	// cluster is whatever may have more than one server.
	cluster bool
	options Options
	keys    [tags]string
	keyArgs [tags]any // the same, as arguments
	// resting is until when, in nanoseconds since began, a tag is not asked.
	resting [tags]atomic.Int64
	began   time.Time
	bound   *bound.Bound
}

// New returns a store on client, which stays the caller's.
func New(client redis.UniversalClient, options Options) *Store {
	options.Prefix = cmp.Or(options.Prefix, "replica:")
	options.Timeout = cmp.Or(options.Timeout, 100*time.Millisecond)
	options.Rest = cmp.Or(options.Rest, time.Second)
	_, one := client.(*redis.Client)
	s := &Store{client: client, heedsContext: heedsContext(client), cluster: !one, options: options, began: time.Now(), bound: bound.New(options.Timeout)}
	for tag := range tags {
		s.keys[tag] = fmt.Sprintf("%s{%d}", options.Prefix, tag)
		s.keyArgs[tag] = s.keys[tag]
	}
	return s
}

// field is an object's name in a hash: 16 bytes of SHA-256. If two objects had the
// same, each would be read from the primary for the other's writes, and never too
// early from a standby.
type field [16]byte

func fieldOf(object replica.Object) field {
	var buffer [128]byte
	text := binary.BigEndian.AppendUint64(buffer[:0], uint64(len(object.Namespace)))
	text = append(text, object.Namespace...)
	text = append(text, object.ID...)
	hash := sha256.Sum256(text)
	return field(hash[:16])
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
	until := time.Duration(s.resting[tag].Load())
	return until > 0 && time.Since(s.began) < until
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
// it fails; a second call does no harm. The error tells of which objects it failed.
func (s *Store) change(ctx context.Context, objects []replica.Object, script *redis.Script, args ...any) error {
	groups := byTag(objects)
	var calls []*call
	for tag, group := range groups {
		for part := range slices.Chunk(group, largestCall) {
			c := &call{tag: tag, script: script, keys: []string{s.keys[tag]}, args: slices.Clip(args)}
			for _, object := range part {
				c.args = append(c.args, string(object.field[:]))
			}
			calls = append(calls, c)
		}
	}
	return partial(groups, s.run(ctx, calls))
}

// failures are errors by tag.
type failures map[int]error

// run sends the calls of tags that do not rest, and returns what failed.
func (s *Store) run(ctx context.Context, calls []*call) failures {
	failed := failures{}
	var sent []*call
	for _, c := range calls {
		if s.rests(c.tag) {
			failed[c.tag] = errResting
		} else {
			sent = append(sent, c)
		}
	}
	if len(sent) == 0 {
		return failed
	}
	s.send(ctx, sent)
	for _, c := range sent {
		if err := c.cmd.Err(); err != nil {
			s.failed(ctx, c.tag)
			failed[c.tag] = err
		}
	}
	return failed
}

// partial returns the failures of tags as the error of their objects.
func partial(groups [tags][]named, failed failures) error {
	if len(failed) == 0 {
		return nil
	}
	e := &replica.PartialError{}
	for tag, err := range failed {
		e.Err = fmt.Errorf("change positions in Redis: %w", err)
		for _, object := range groups[tag] {
			e.Objects = append(e.Objects, object.object)
		}
	}
	return e
}

// Raise implements [replica.Store]. Positions are dropped when it raises all floors.
func (s *Store) Raise(ctx context.Context, objects []replica.Object, to replica.Position, claim string) error {
	groups, claims := byTag(objects), parseClaims(claim)
	var calls []*call
	for tag := range tags {
		if len(objects) == 0 || len(groups[tag]) > 0 {
			calls = append(calls, &call{tag: tag, script: raiseScript, keys: []string{s.keys[tag]}, args: []any{text(to), claims[tag]}})
		}
	}
	failed := s.run(ctx, calls)
	for _, c := range calls {
		if failed[c.tag] == nil && claims[c.tag] != "" {
			if ready, err := c.cmd.Int(); err != nil || ready != 1 {
				failed[c.tag] = cmp.Or(err, errLostAgain)
			}
		}
	}
	if len(objects) > 0 {
		return partial(groups, failed)
	}
	s.sweep(ctx, failed)
	for tag, err := range failed {
		return fmt.Errorf("raise floor %d in Redis: %w", tag, err)
	}
	return nil
}

// errLostAgain is a claim that is gone: the position was asked for before the loss.
var errLostAgain = errors.New("the store has lost its memory again meanwhile")

// claimText and parseClaims are [replica.Known.Claim]: one for each tag.
func claimText(tag int, claim string) string { return fmt.Sprintf("%d=%s;", tag, claim) }

func parseClaims(text string) (claims [tags]string) {
	for one := range strings.SplitSeq(text, ";") {
		number, claim, _ := strings.Cut(one, "=")
		if tag, err := strconv.Atoi(number); err == nil && tag >= 0 && tag < tags {
			claims[tag] = claim
		}
	}
	return claims
}

const (
	sweepFields = 500
	sweepParts  = 100
)

// sweep drops the positions that floors have reached, a bounded number of them.
func (s *Store) sweep(ctx context.Context, failed failures) {
	for tag := range tags {
		cursor := "0"
		for range sweepParts {
			if failed[tag] != nil {
				break
			}
			if cursor = s.sweepPart(ctx, tag, cursor, failed); cursor == "0" || cursor == "" {
				break
			}
		}
	}
}

func (s *Store) sweepPart(ctx context.Context, tag int, cursor string, failed failures) (next string) {
	c := &call{tag: tag, script: sweepScript, keys: []string{s.keys[tag]}, args: []any{cursor, sweepFields}}
	maps.Copy(failed, s.run(ctx, []*call{c}))
	if failed[tag] == nil {
		next, _ = c.cmd.Text()
	}
	return next
}
