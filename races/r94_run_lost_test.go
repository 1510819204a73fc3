package races

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"casq/jobs"
	"casq/registry"
)

// r94RunLost: a run has ended, and home is promoted without its end. There the
// run has its claim again, in the name of a process that lives, and that knows of
// no such run: nobody would ever give it back, and whoever wants the resource waits
// for it.
func r94RunLost(t *testing.T) {
	t.Parallel()
	r := newR94(t)
	home := r.switched(t)
	queue, err := jobs.NewQueue(home, raceLog(t))
	if err != nil {
		t.Fatal(err)
	}
	process := registry.NewProcess(registry.ProcessConfig{Pool: home, Queue: queue, Logger: raceLog(t), ClaimTTL: 600 * time.Millisecond})
	if err := process.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var beating sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(func() { stop(); beating.Wait() })
	beating.Go(func() { process.Run(ctx) })
	execute(t, home, `SELECT casq.define_kind('resource', 'none')`)
	execute(t, home, `INSERT INTO casq.registry (kind, resource_id, timeline, event_id, tick, payload) VALUES ('resource', 'a', 1, 1, 1, '{}')`)
	token := registry.Token{Kind: "resource", ResourceID: "a"}
	if err := home.QueryRow(t.Context(), "SELECT version FROM casq.registry").Scan(&token.Version); err != nil {
		t.Fatal(err)
	}
	runs := registry.New(registry.Config{Pool: home, Jobs: queue, Logger: raceLog(t)}, process)
	claim, err := runs.Claim(t.Context(), token, 1)
	if err != nil {
		t.Fatal(err)
	}
	r.cutOff(t)
	if err := runs.Publish(claim, registry.Result{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.cluster.Primary.Kill(); err != nil {
		t.Fatal(err)
	}
	r.promote(t)
	had := lines(t, r.second, `SELECT format('%s %s', r.claim, p.dead_at IS NULL) FROM casq.registry AS r JOIN casq.processes AS p ON p.id = r.claim_process`)
	if want := fmt.Sprintf("%s t", claim.ID); had != want {
		t.Fatalf("the promoted server has claim %q, want %q", had, want)
	}
	r.until(t, "the process is over", func() bool { return process.Done().Err() != nil })
	if cause := context.Cause(process.Done()); !errors.Is(cause, registry.ErrProcessLost) {
		t.Errorf("it is over because of %v", cause)
	}
	if err := process.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if claimed := lines(t, r.second, "SELECT claim::text FROM casq.registry WHERE claim IS NOT NULL"); claimed != "" {
		t.Errorf("claim %s is still there", claimed)
	}
	queued := lines(t, r.second, "SELECT args ->> 'version' FROM river.river_job WHERE state = 'available'")
	if want := fmt.Sprint(token.Version); queued != want {
		t.Errorf("jobs of versions %q are queued, want one of %s", queued, want)
	}
}
