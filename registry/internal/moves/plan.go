package moves

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"casq/eventlog"

	"github.com/jackc/pgx/v5"
)

// plan follows the events of a batch in their order, for the resources that moved:
// where is a copy of each, and which moves make one of it?
//
// The event of the old key comes first, and says what is in place; the one of the new key
// says for which of its incarnations. A page of the log may end between the two, but no
// step. Where they were appended by hand the other way round, what is in place is kept until
// the new key has a copy, and not used.
type plan struct {
	states  map[Resource]*state
	dropped map[toMove]bool // of those that are stored
}

// state is what is known of one resource, up to an event.
type state struct {
	placed *Base // what is in place is this very resource
	from   *Base // it is to be made of this, since its event came
	due    *Base // likewise, and its event is still to come
	via    string
	// As they are stored.
	oldFrom, oldDue *Base
}

// toMove names a stored move.
type toMove struct {
	Resource
	base Base
}

// read begins with what there was before the batch. A row that the batch has deleted says
// what was in place before.
func read(ctx context.Context, tx pgx.Tx, batch eventlog.Batch, deletes map[Resource]int64) (*plan, error) {
	p := &plan{states: make(map[Resource]*state), dropped: make(map[toMove]bool)}
	for i := range batch.Events {
		if e := &batch.Events[i]; e.Moved != "" {
			p.states[Resource{e.Kind, e.ResourceID}], p.states[Resource{e.Kind, e.Moved}] = &state{}, &state{}
		}
	}
	kinds, keys := split(slices.SortedFunc(maps.Keys(p.states), compare))
	incarnations, err := p.readPlaces(ctx, tx, kinds, keys, deletes)
	if err != nil {
		return nil, fmt.Errorf("read rows of what has moved: %w", err)
	}
	if err := p.readStored(ctx, tx, kinds, keys, batch, incarnations); err != nil {
		return nil, fmt.Errorf("read moves: %w", err)
	}
	return p, nil
}

func compare(a, b Resource) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key))
}

// readPlaces reads what is in place, and returns the incarnations before the batch.
func (p *plan) readPlaces(ctx context.Context, tx pgx.Tx, kinds, keys []string, deletes map[Resource]int64) (map[Resource]int64, error) {
	rows, err := tx.Query(ctx, sql.Rows, kinds, keys)
	if err != nil {
		return nil, err
	}
	before := make(map[Resource]int64)
	var r Resource
	var placed bool
	var incarnation, left int64
	_, err = pgx.ForEachRow(rows, []any{&r.Kind, &r.Key, &incarnation, &placed, &left}, func() error {
		s := p.states[r]
		before[r] = incarnation
		switch n := deletes[r]; {
		case n > 0:
			before[r] = incarnation - n
			if left != 0 {
				s.placed = &Base{r.Key, left}
			}
		case placed:
			s.placed = &Base{r.Key, incarnation}
		}
		return nil
	})
	return before, err
}

func (p *plan) readStored(ctx context.Context, tx pgx.Tx, kinds, keys []string, batch eventlog.Batch, before map[Resource]int64) error {
	rows, err := tx.Query(ctx, sql.Moves, kinds, keys, batch.Timeline.Ordinal, batch.Tick)
	if err != nil {
		return err
	}
	var r Resource
	var base Base
	var via string
	var incarnation int64
	var present bool
	_, err = pgx.ForEachRow(rows, []any{&r.Kind, &r.Key, &base.Key, &base.Incarnation, &via, &incarnation, &present}, func() error {
		s, b := p.states[r], base
		switch {
		case incarnation == 0 && present:
			s.due, s.oldDue, s.via = &b, &b, via
		case incarnation != 0 && incarnation == before[r]:
			s.from, s.oldFrom, s.via = &b, &b, via
		}
		return nil
	})
	return err
}

// copyOf is where a copy of a resource is; nil: there is none.
func (s *state) copyOf() *Base {
	if s.placed != nil {
		return s.placed
	}
	return s.from
}

// tell takes one event in.
func (p *plan) tell(e *eventlog.Event) {
	r := Resource{e.Kind, e.ResourceID}
	s := p.states[r]
	if s == nil {
		return
	}
	switch e.Op {
	case eventlog.Deleted:
		if e.Moved != "" {
			to := p.states[Resource{e.Kind, e.Moved}]
			to.due, to.via = s.copyOf(), e.ResourceID
		}
		if s.oldFrom != nil {
			p.dropped[toMove{r, *s.oldFrom}] = true
		}
		s.placed, s.from, s.oldFrom = nil, nil, nil
	case eventlog.Created:
		if e.Moved != "" && e.Moved == s.via {
			s.from, s.due = s.due, nil
		}
		s.placed = nil
	case eventlog.Updated:
	}
}

// write stores the moves that are to be carried out.
func (p *plan) write(ctx context.Context, tx pgx.Tx, batch eventlog.Batch) error {
	var kinds, keys, bases, vias []string
	var incarnations []int64
	var arrived []bool
	add := func(r Resource, base *Base, come bool) {
		delete(p.dropped, toMove{r, *base})
		kinds, keys = append(kinds, r.Kind), append(keys, r.Key)
		bases, incarnations = append(bases, base.Key), append(incarnations, base.Incarnation)
		arrived, vias = append(arrived, come), append(vias, p.states[r].via)
	}
	for r, s := range p.states {
		if s.from != nil && s.from != s.oldFrom {
			add(r, s.from, true)
		}
		if s.due != nil && s.due != s.oldDue {
			add(r, s.due, false)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	_, err := tx.Exec(ctx, sql.Write, kinds, keys, bases, incarnations, arrived, batch.Timeline.Ordinal, batch.Tick, vias)
	if err != nil {
		return fmt.Errorf("note %d moves: %w", len(keys), err)
	}
	return nil
}

// drop ends the moves that are not to be carried out, and returns what they have kept.
func (p *plan) drop(ctx context.Context, tx pgx.Tx) ([]Resource, error) {
	if len(p.dropped) == 0 {
		return nil, nil
	}
	var kinds, keys, bases []string
	var incarnations []int64
	for m := range p.dropped {
		kinds, keys = append(kinds, m.Kind), append(keys, m.Key)
		bases, incarnations = append(bases, m.base.Key), append(incarnations, m.base.Incarnation)
	}
	rows, err := tx.Query(ctx, sql.Drop, kinds, keys, bases, incarnations)
	if err != nil {
		return nil, fmt.Errorf("end moves: %w", err)
	}
	return collectResources(rows)
}
