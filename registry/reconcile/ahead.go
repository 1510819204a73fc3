package reconcile

import "context"

// ahead reads pages, the next one while the one before is worked on. So there are
// three of them at most: one at work, one that waits, one that is read.
type ahead[P any] struct {
	pages chan read[P]
	halt  context.CancelFunc
}

type read[P any] struct {
	page P
	err  error
}

// readAhead calls next for one page after the other, until it says that there is no more,
// or fails. Whoever calls it calls stop in the end.
func readAhead[P any](ctx context.Context, next func(context.Context) (page P, more bool, err error)) *ahead[P] {
	ctx, halt := context.WithCancel(ctx) //nolint:gosec // stop calls it
	a := &ahead[P]{pages: make(chan read[P]), halt: halt}
	go func() {
		defer close(a.pages)
		for more := true; more; {
			var r read[P]
			r.page, more, r.err = next(ctx)
			select {
			case a.pages <- r:
			case <-ctx.Done():
				return
			}
			more = more && r.err == nil
		}
	}()
	return a
}

// next returns the next page, which is not asked for beyond the last one.
func (a *ahead[P]) next(ctx context.Context) (P, error) {
	r, read := <-a.pages
	if !read {
		return r.page, ctx.Err()
	}
	return r.page, r.err
}

// stop waits until nothing is read any more.
func (a *ahead[P]) stop() {
	a.halt()
	for range a.pages {
		continue // what was read ahead is thrown away
	}
}
