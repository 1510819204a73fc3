package races

import (
	"sync"
	"testing"
)

// TestR83Backwards: an old holder has read a batch and is late; a new one goes
// on far beyond it; then the old one stores its position. Whoever stores a
// position without asking what is there puts the log back, and the events in
// between are applied again. The position may only grow.
func TestR83Backwards(t *testing.T) {
	t.Parallel()
	t.Run("twin/position saved after the batch", func(t *testing.T) {
		t.Parallel()
		s := newLeaseSite(t)
		s.tick(t)
		one, two := s.naiveHolder(t), s.naiveHolder(t)
		s.put(t, "a")
		one.batch(t)
		one.apply(t) // its position is not saved yet
		for _, resource := range []string{"b", "c"} {
			s.put(t, resource)
			two.batch(t)
			two.apply(t)
			two.save(t)
		}
		one.save(t)
		two.batch(t)
		two.apply(t)
		wantResources(t, s.applied(t), "a", "a", "b", "c", "b", "c")
	})
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		s := newLeaseSite(t)
		execute(t, s.pool, `CREATE TABLE positions (n bigint GENERATED ALWAYS AS IDENTITY, tick bigint);
			CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
				'BEGIN INSERT INTO positions (tick) VALUES (NEW.tick); RETURN NEW; END';
			CREATE TRIGGER note AFTER UPDATE ON casq.cursors FOR EACH ROW EXECUTE FUNCTION note()`)
		s.put(t, "a")
		read, goOn, late := make(chan struct{}), make(chan struct{}), make(chan struct{})
		var once, lateOnce sync.Once
		old := s.leased(t, longLease)
		old.Redis = nil // so that the other can obtain the lease
		old.Hook = func(point string) {
			if point == "batch:read" {
				once.Do(func() {
					close(read)
					<-goOn
				})
			}
			if point == "batch:applied" {
				lateOnce.Do(func() { close(late) })
			}
		}
		follow(t, old)
		<-read
		follow(t, s.leased(t, longLease))
		s.wantApplied(t, "a")
		s.put(t, "b")
		s.wantApplied(t, "a", "b")
		s.put(t, "c")
		s.wantApplied(t, "a", "b", "c")
		close(goOn)
		s.put(t, "d")
		s.wantApplied(t, "a", "b", "c", "d")
		select {
		case <-late:
			t.Error("the old holder came as far as its commit")
		default:
		}
		back := lines(t, s.pool, `SELECT count(*)::text FROM (SELECT tick < lag(tick) OVER (ORDER BY n) AS back FROM positions) AS p WHERE back`)
		if back != "0" {
			t.Errorf("the position went back %s times", back)
		}
	})
}
