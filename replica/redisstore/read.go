package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"casq/replica"
)

// section is what one script call asks about one tag.
type section struct {
	tag     int
	objects []named
}

// Read implements [replica.Store]. On one server it is one call, and another one when
// there is something out of the ordinary; on a Cluster one for each tag, all at once.
func (s *Store) Read(ctx context.Context, objects []replica.Object) (replica.Known, error) {
	if known, told, err := s.readPlain(ctx, objects); told {
		return known, err
	}
	return s.readByScript(ctx, objects)
}

func (s *Store) readByScript(ctx context.Context, objects []replica.Object) (replica.Known, error) {
	var known replica.Known
	partial := &replica.PartialError{}
	lost := func(sections []section, err error) {
		partial.Err = err
		for _, section := range sections {
			for _, object := range section.objects {
				partial.Objects = append(partial.Objects, object.object)
			}
		}
	}
	plan := s.plan(objects, lost)
	calls := make([]*call, len(plan))
	for i, sections := range plan {
		calls[i] = s.readCall(sections)
	}
	if len(calls) > 0 {
		s.send(ctx, calls)
	}
	for i, sections := range plan {
		answer, err := calls[i].cmd.Slice()
		if err == nil {
			err = decode(&known, sections, answer)
		}
		if err != nil {
			for _, section := range sections {
				s.failed(ctx, section.tag)
			}
			lost(sections, fmt.Errorf("read positions from Redis: %w", err))
		}
	}
	if partial.Err != nil {
		return known, partial
	}
	return known, nil
}

// plan tells which sections go into which call. Those of tags that rest are lost.
func (s *Store) plan(objects []replica.Object, lost func([]section, error)) [][]section {
	var plan [][]section
	room := 0
	for tag, group := range byTag(objects) {
		if len(group) > 0 && s.rests(tag) {
			lost([]section{{tag, group}}, errResting)
			continue
		}
		for len(group) > 0 {
			if room == 0 || s.cluster {
				plan, room = append(plan, nil), largestCall
			}
			part := group[:min(len(group), room)]
			group, room = group[len(part):], room-len(part)
			plan[len(plan)-1] = append(plan[len(plan)-1], section{tag, part})
		}
	}
	return plan
}

func (s *Store) readCall(sections []section) *call {
	c := &call{tag: sections[0].tag, script: readScript, args: []any{strconv.FormatUint(rand.Uint64(), 36)}}
	for _, section := range sections {
		c.keys = append(c.keys, s.keys[section.tag])
		c.args = append(c.args, len(section.objects))
	}
	for _, section := range sections {
		for _, object := range section.objects {
			c.args = append(c.args, string(object.field[:]))
		}
	}
	return c
}

// decode adds an answer of read.lua to what is known.
func decode(known *replica.Known, sections []section, answer []any) error {
	if len(answer) < 3 || len(answer)%3 != 0 {
		return fmt.Errorf("the script's answer has %d values, want three and three for each that is told of", len(answer))
	}
	largest, ok1 := answer[0].(string)
	floor, ok2 := answer[1].(int64)
	now, ok3 := answer[2].(int64)
	if !ok1 || !ok2 || !ok3 {
		return fmt.Errorf("the script's answer begins with %T, %T, %T", answer[0], answer[1], answer[2])
	}
	at, err := position(largest)
	if err != nil {
		return err
	}
	if at.Compare(known.Position) > 0 {
		known.Position, known.FromFloor = at, floor == 1
	}
	for told := answer[3:]; len(told) > 0; told = told[3:] {
		number, ok := told[1].(int64)
		if !ok {
			return fmt.Errorf("the script's answer has %T for a number", told[1])
		}
		if err := tell(known, sections, told[0], int(number), told[2], now); err != nil {
			return err
		}
	}
	return nil
}

// tell adds one entry of what read.lua returns: a claim on a tag, or an object's marks.
func tell(known *replica.Known, sections []section, what any, number int, value any, now int64) error {
	text, ok := value.(string)
	if !ok {
		return fmt.Errorf("the script's answer has %T for %v", value, what)
	}
	switch what {
	case "claim":
		if number < 0 || number >= len(sections) {
			return fmt.Errorf("the script's answer tells of key %d of %d", number, len(sections))
		}
		known.Claim += claimText(sections[number].tag, text)
		for _, object := range sections[number].objects {
			known.Unready = append(known.Unready, object.object)
		}
		return nil
	case "marks":
		for _, section := range sections {
			if number < len(section.objects) {
				marks, err := marksOf(section.objects[number].object, text, now)
				known.Writing = append(known.Writing, marks...)
				return err
			}
			number -= len(section.objects)
		}
	}
	return fmt.Errorf("the script's answer tells of %v %d", what, number)
}

func marksOf(object replica.Object, text string, now int64) (marks []replica.Mark, err error) {
	for one := range strings.SplitSeq(strings.TrimSuffix(text, ";"), ";") {
		if one == "" {
			continue
		}
		parts := strings.Split(one, " ")
		if len(parts) != 4 {
			return nil, fmt.Errorf("%.64q is no mark", one)
		}
		timeline, err1 := strconv.ParseInt(parts[1], 10, 64)
		xid, err2 := strconv.ParseUint(parts[2], 10, 64)
		at, err3 := strconv.ParseInt(parts[3], 10, 64)
		if err := errors.Join(err1, err2, err3); err != nil {
			return nil, fmt.Errorf("%.64q is no mark: %w", one, err)
		}
		age := max(0, time.Duration(now-at)*time.Millisecond)
		marks = append(marks, replica.Mark{Object: object, ID: parts[0], Timeline: timeline, XID: xid, Age: age})
	}
	return marks, nil
}
