package refreshkey

import (
	"context"
	"fmt"
	"strconv"

	"casq/eventlog"
)

// Follower feeds the counters with the events of casq's log: whoever compares
// with casq drives both by the same events. It remembers how far it is in
// memory only.
type Follower struct {
	counters *Counters
	kind     string
	reader   *eventlog.Reader
	at       eventlog.Position
}

// Follow returns a follower that begins with the log. Events of the kind have
// artifacts' ids as keys, and projects' as scopes.
func (c *Counters) Follow(ctx context.Context, kind string) (*Follower, error) {
	reader := eventlog.NewReader(c.cfg.DB, 0)
	at, err := reader.Start(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin with the log: %w", err)
	}
	return &Follower{counters: c, kind: kind, reader: reader, at: at}, nil
}

// CatchUp adds the events of all ticks that there are.
func (f *Follower) CatchUp(ctx context.Context) error {
	for {
		batch, err := f.reader.Next(ctx, f.at)
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if batch.Next == f.at {
			return nil
		}
		increments, err := f.increments(batch.Events)
		if err != nil {
			return err
		}
		if len(increments) > 0 {
			if err := f.counters.Add(ctx, increments...); err != nil {
				return err
			}
		}
		f.at = batch.Next
	}
}

func (f *Follower) increments(events []eventlog.Event) (increments []Increment, err error) {
	for _, e := range events {
		if e.Kind != f.kind || e.ScopeID == nil || e.SizeDelta == 0 {
			continue
		}
		i := Increment{Amount: e.SizeDelta}
		if i.Project, err = strconv.ParseInt(*e.ScopeID, 10, 64); err != nil {
			return nil, fmt.Errorf("read project of event %d: %w", e.ID, err)
		}
		if i.Artifact, err = strconv.ParseInt(e.ResourceID, 10, 64); err != nil {
			return nil, fmt.Errorf("read artifact of event %d: %w", e.ID, err)
		}
		increments = append(increments, i)
	}
	return increments, nil
}
