package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"casq/replica"

	"github.com/redis/go-redis/v9"
)

// readPlain reads what is, as a rule, all that there is to know: floors of this
// memory, positions, and no mark. It has half the cost of read.lua, which is asked when
// told is false, and which alone leaves claims, and tells of marks.
//
// That is no script, nor one step for the server, and need not be: the fields are read
// first, and then, on the same connection, whose memory they are. A server that is a
// master has made its master_replid, 160 random bits, when it became one, and keeps it
// no longer than it is one. So the one that is in the hash, and that a master answers
// with afterwards, was its own when it read the fields, too. The other order would not
// do: between the two it may have lost its memory.
func (s *Store) readPlain(ctx context.Context, objects []replica.Object) (known replica.Known, told bool, err error) {
	if s.cluster || len(objects) == 0 || len(objects) > largestCall {
		return known, false, nil
	}
	names := make([]named, len(objects))
	var counts [tags]int
	for i, object := range objects {
		names[i] = named{object, fieldOf(object)}
		tag := names[i].field.tag()
		if s.rests(tag) {
			return known, false, nil
		}
		counts[tag]++
	}
	var hashes [tags]*redis.SliceCmd
	pipe := s.client.Pipeline()
	for tag, count := range counts {
		if count > 0 {
			hashes[tag] = redis.NewSliceCmd(ctx, s.plainFields(names, tag, count)...)
			_ = pipe.Process(ctx, hashes[tag])
		}
	}
	replication := pipe.Info(ctx, "replication")
	if err := within(ctx, s, func(ctx context.Context) error { _, err := pipe.Exec(ctx); return err }); err != nil {
		return known, !isReply(err), s.lost(ctx, objects, err)
	}
	id := masterID(replication.Val())
	for _, hash := range hashes {
		if hash != nil && (id == "" || !addPlain(&known, hash.Val(), id)) {
			return replica.Known{}, false, nil
		}
	}
	return known, true, nil
}

// isReply says whether an error is the server's answer.
func isReply(err error) bool {
	_, answered := errors.AsType[redis.Error](err)
	return answered
}

// lost lets the tags of objects rest whose read has failed.
func (s *Store) lost(ctx context.Context, objects []replica.Object, err error) error {
	for _, object := range objects {
		s.failed(ctx, fieldOf(object).tag())
	}
	return &replica.PartialError{Objects: objects, Err: fmt.Errorf("read positions from Redis: %w", err)}
}

// plainFields returns the command that reads count objects of a tag.
func (s *Store) plainFields(names []named, tag, count int) []any {
	args := make([]any, 0, 4+2*count)
	args = append(args, "hmget", s.keyArgs[tag], "identity", "floor")
	for _, object := range names {
		if object.field.tag() == tag {
			both := "p" + string(object.field[:]) + "m" + string(object.field[:])
			args = append(args, both[:len(both)/2], both[len(both)/2:])
		}
	}
	return args
}

// masterID returns the master_replid of a server whose INFO says that it is a master.
func masterID(replication string) string {
	const role, name, length = "# Replication\r\nrole:master\r\n", "\r\nmaster_replid:", 40
	if !strings.HasPrefix(replication, role) {
		return ""
	}
	_, id, _ := strings.Cut(replication, name)
	if len(id) < length {
		return ""
	}
	return id[:length]
}

// addPlain adds the fields of a hash to what is known. It is false when they are not
// of the memory of the master with that id, or there is a mark, or no position.
func addPlain(known *replica.Known, fields []any, id string) bool {
	if len(fields) < 2 {
		return false
	}
	identity, _ := fields[0].(string)
	if !strings.HasSuffix(identity, id) || !addPosition(known, fields[1], true) {
		return false
	}
	for object := fields[2:]; len(object) > 1; object = object[2:] {
		if object[1] != nil || object[0] != nil && !addPosition(known, object[0], false) {
			return false
		}
	}
	return true
}

func addPosition(known *replica.Known, value any, floor bool) bool {
	text, _ := value.(string)
	at, err := position(text)
	if err != nil || text == "" {
		return false
	}
	if at.Compare(known.Position) > 0 {
		known.Position, known.FromFloor = at, floor
	}
	return true
}
