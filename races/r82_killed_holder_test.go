package races

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// TestR82KilledHolder: the holder is killed, or told to stop, while events come.
// A lease that was taken by one command and given its time by the next stays for
// ever when the holder dies between the two; one that is left to itself on
// SIGTERM keeps the log for its whole length. After SIGKILL another has to be
// active within the lease and 2 s, after SIGTERM within 1 s.
func TestR82KilledHolder(t *testing.T) {
	t.Parallel()
	t.Run("twin/killed before the time was set", func(t *testing.T) {
		t.Parallel()
		s := newLeaseSite(t)
		ctx := t.Context()
		s.client.SetNX(ctx, "naive", "one", 0) // and EXPIRE never comes
		if s.client.SetNX(ctx, "naive", "two", 0).Val() || s.client.TTL(ctx, "naive").Val() != -1 {
			t.Error("another has the lease; it should be kept for ever")
		}
	})
	t.Run("twin/left to itself on SIGTERM", func(t *testing.T) {
		t.Parallel()
		s := newLeaseSite(t)
		ctx := t.Context()
		s.client.SetNX(ctx, "naive", "one", longLease) // and ends here
		if s.client.SetNX(ctx, "naive", "two", longLease).Val() || s.client.PTTL(ctx, "naive").Val() < longLease/2 {
			t.Error("another has the lease; it should be kept for its whole time")
		}
	})
	t.Run("ours/SIGKILL", func(t *testing.T) {
		t.Parallel()
		took := playR82(t, shortLease, syscall.SIGKILL)
		t.Logf("another has applied a batch %v after SIGKILL, with a lease of %v", took, shortLease)
		if took > shortLease+2*time.Second+busy {
			t.Errorf("it took %v, want the lease and 2 s", took)
		}
	})
	t.Run("ours/SIGTERM", func(t *testing.T) {
		t.Parallel()
		took := playR82(t, longLease, syscall.SIGTERM)
		t.Logf("another has applied a batch %v after SIGTERM, with a lease of %v", took, longLease)
		if took > time.Second+busy {
			t.Errorf("it took %v, want 1 s", took)
		}
	})
	t.Run("ours/SIGTERM, without Redis", func(t *testing.T) {
		t.Parallel()
		s := newLeaseSite(t)
		took := s.playR82(t, holderSpec{Lease: longLease}, syscall.SIGTERM)
		t.Logf("another has applied a batch %v after SIGTERM, without Redis", took)
		if took > time.Second+busy {
			t.Errorf("it took %v, want 1 s", took)
		}
	})
}

func playR82(t *testing.T, lease time.Duration, with syscall.Signal) time.Duration {
	t.Helper()
	s := newLeaseSite(t)
	return s.playR82(t, holderSpec{Redis: s.redis.URL(), Lease: lease}, with)
}

// playR82 signals the holder, and returns the time until another has applied
// what was written then. The pauses are those of a worker.
func (s *leaseSite) playR82(t *testing.T, spec holderSpec, with syscall.Signal) time.Duration {
	t.Helper()
	s.put(t, "a")
	s.start(t, spec)
	s.wantApplied(t, "a")
	cfg := s.leased(t, spec.Lease)
	cfg.Wait = 0
	if spec.Redis == "" {
		cfg.Redis = nil
	}
	follow(t, cfg)
	pid := s.holderPid(t)
	if pid == os.Getpid() {
		t.Fatal("the log is followed by this process")
	}
	began := time.Now()
	if err := syscall.Kill(pid, with); err != nil {
		t.Fatal(err)
	}
	s.put(t, "b")
	s.untilHolder(t, os.Getpid())
	s.wantApplied(t, "a", "b")
	return time.Since(began).Round(time.Millisecond)
}
