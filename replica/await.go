package replica

import (
	"context"
	"time"
)

// awaitEvery is how often a session that puts its work off asks for a standby.
const awaitEvery = 20 * time.Millisecond

// Await waits until a standby has all that the session expects by then, at most for
// bound, and says whether one has. It holds no connection, and is for work that can be
// put off: reads wait by themselves, for a much shorter time ([Options.Wait]).
func (s *Session) Await(ctx context.Context, bound time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	ticker := time.NewTicker(awaitEvery)
	defer ticker.Stop()
	for {
		e := s.expect(ctx)
		if !e.primary && s.db.pick(e, nil) != nil {
			return true
		}
		if e.primary && e.why != BeingWritten && e.why != StoreAway {
			return false // It stays so.
		}
		for _, h := range *s.db.hosts.Load() {
			if time.Since(h.state.Load().probed) >= awaitEvery {
				h.poke()
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
	}
}
