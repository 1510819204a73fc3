package reconcile

import (
	"context"
	"maps"
	"slices"

	"casq/eventlog"
)

// merged is how far a run has gone through the rows of a kind along with its resources.
type merged struct {
	rows int     // as many
	last *string // up to this one; nil: there was none
	up   *string // up to here the source's keys are in the order of bytes
	over bool    // they are not, or another process has done the first of them

	under bool   // it is under way
	gone  rowSet // rows whose resources are gone, for when all resources were seen
}

// mostGone bounds them: with more of them all rows are gone through again.
const mostGone = 10_000

// leave leaves rows that are to be removed until all resources were seen: whether so many may
// be goes by how many there are then, and not by how far both sides have come. Those of a page
// that was tried before are there already.
func (m *merged) leave(gone map[string]int64) {
	for _, key := range slices.Sorted(maps.Keys(gone)) {
		if n := len(m.gone.keys); n == 0 || m.gone.keys[n-1] < key {
			m.gone.add(key, gone[key])
		}
	}
	m.over = m.over || len(m.gone.keys) > mostGone
}

// pages are the rows in pages of a size.
func (s *rowSet) pages(kind eventlog.Kind, size int) (pages []*rowsPage) {
	keys, versions := s.keys, s.versions
	for len(keys) > 0 {
		n := min(size, len(keys))
		pages = append(pages, &rowsPage{kind: kind, keys: keys[:n], versions: versions[:n], flags: slices.Repeat([]int32{wantsResource | isBeyond}, n)})
		keys, versions = keys[n:], versions[n:]
	}
	return pages
}

// merge goes through the resources and the rows of a kind at once, page by page, for as
// long as the source's keys come in the order of the registry's, which is that of bytes.
// It returns the first page that is in another order; nil: all is done.
//
// Merging decides nothing, and so depends on no order of reading: where the two sides say
// the same, nothing is to be done in either direction. All else is
// asked for again as if it had not been.
func (run *takenRun) merge(ctx context.Context, kind eventlog.Kind, source *ahead[*page], after *string, m *merged) (left *page, err error) {
	waiting, err := run.oldest(ctx, kind)
	if err != nil {
		return nil, err
	}
	m.up, m.under = after, true
	defer func() { m.under = false }()
	rows := run.rowPages(ctx, kind, after, waiting, true)
	defer rows.stop()
	var p *page
	var r *rowsPage
	for {
		if p == nil {
			if p, err = run.nextPage(ctx, source); err != nil || !p.listed || !m.follows(p) {
				return p, err
			}
		}
		if r == nil {
			if r, err = rows.next(ctx); err != nil {
				return nil, err
			}
		}
		if p.last == nil && len(r.keys) == 0 {
			return nil, nil //nolint:nilnil // no page is left
		}
		bound := bothUpTo(p, r)
		after = p.position(bound, after)
		some, rest := p.split(bound)
		these, others := r.split(bound)
		if err := run.mergedPage(ctx, some, these, after); err != nil {
			return nil, err
		}
		m.did(these)
		p, r = rest, others
	}
}

// follows tells whether a page goes on in the order of bytes.
func (m *merged) follows(p *page) bool {
	for i := range p.keys {
		if m.up != nil && p.keys[i] <= *m.up {
			return false
		}
		m.up = &p.keys[i]
	}
	if p.last == nil {
		return true
	}
	// It is beyond the last key where what comes last is not selected.
	ordered := m.up == nil || *p.last >= *m.up
	m.up = p.last
	return ordered
}

// did notes rows as gone through; some may have been before, when a smaller page was tried.
func (m *merged) did(r *rowsPage) {
	keys := r.keys
	if m.last != nil {
		keys = keys[sizeUpTo(keys, *m.last):]
	}
	if len(keys) > 0 {
		m.rows, m.last = m.rows+len(keys), &keys[len(keys)-1]
	}
}

// bothUpTo is the key up to which both pages show what there is.
func bothUpTo(p *page, r *rowsPage) string {
	switch {
	case p.last == nil:
		return r.keys[len(r.keys)-1]
	case len(r.keys) == 0:
		return *p.last
	default:
		return min(*p.last, r.keys[len(r.keys)-1])
	}
}

// position is where the source goes on when the page is done up to a key: beyond the last
// resource that it has shown by then, or where it was. The key itself may be a row's: beyond
// that the source, in whose order other keys may come first, goes on somewhere else.
func (p *page) position(key string, before *string) *string {
	switch n := sizeUpTo(p.keys, key); {
	case p.last == nil:
		return before
	case *p.last <= key:
		return p.last
	case n > 0:
		return &p.keys[n-1]
	}
	return before
}

// split returns what the page has up to a key, and beyond; nothing is left of it (nil) where
// it shows no more than that. The end of all is left for ever.
func (p *page) split(key string) (some, rest *page) {
	if p.last == nil {
		return p, p
	}
	if *p.last <= key {
		return p, nil
	}
	n := sizeUpTo(p.keys, key)
	some, rest = new(*p), new(*p)
	some.keys, some.payloads, some.scopes, some.last = p.keys[:n], p.payloads[:n], p.scopes[:n], &key
	rest.keys, rest.payloads, rest.scopes = p.keys[n:], p.payloads[n:], p.scopes[n:]
	return some, rest
}

func (p *rowsPage) split(key string) (some, rest *rowsPage) {
	n := sizeUpTo(p.keys, key)
	if n == len(p.keys) && n > 0 {
		return p, nil
	}
	some, rest = new(*p), new(*p)
	some.keys, some.versions, some.flags, some.payloads = p.keys[:n], p.versions[:n], p.flags[:n], p.payloads[:n]
	rest.keys, rest.versions, rest.flags, rest.payloads = p.keys[n:], p.versions[n:], p.flags[n:], p.payloads[n:]
	return some, rest
}

// sizeUpTo is how many of the sorted keys are not beyond one.
func sizeUpTo(keys []string, key string) int {
	n, found := slices.BinarySearch(keys, key)
	if found {
		n++
	}
	return n
}

// mergedPage compares what both sides have up to a key, in both directions; after is where
// the source goes on. What differs is done by the same steps as where they are read one after
// the other, in a transaction for each direction: the first one leaves the run where it was,
// and the second one counts the page.
func (run *takenRun) mergedPage(ctx context.Context, p *page, r *rowsPage, after *string) error {
	p = p.usable()
	f := found{examined: len(p.keys)}
	if differ := r.compare(p); len(differ) > 0 {
		if err := run.resourcesPage(ctx, r.kind, p.only(differ), run.reached, &found{}, &f.late); err != nil {
			return err
		}
	}
	to := progress{resourcesPhase, &r.kind.Name, after}
	if r.idle() {
		return run.commit(ctx, to, r.kind.Name, &f, nil)
	}
	run.cfg.Hook("reconcile:rows")
	return run.rowsPage(ctx, r, &to, &f)
}

// compare returns the places of the resources that the rows do not have with the same
// payload. Rows whose resources are there are to be asked for no more.
func (p *rowsPage) compare(there *page) (differ []int) {
	n := 0
	for i, key := range there.keys {
		for n < len(p.keys) && p.keys[n] < key {
			n++
		}
		same := n < len(p.keys) && p.keys[n] == key
		if !same || p.flags[n]&wantsResource == 0 || p.payloads[n] != there.payloads[i] {
			differ = append(differ, i)
		}
		if same {
			p.flags[n] &^= wantsResource
		}
	}
	return differ
}

// idle tells whether nothing is to be done for any of the rows.
func (p *rowsPage) idle() bool {
	return !slices.ContainsFunc(p.flags, func(f int32) bool { return f&(wantsResource|isIdle|isDue) != 0 })
}
