package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"casq/eventlog"

	"github.com/google/uuid"
)

func TestClaim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.registry(t)
	b.apply(t, event(1, eventlog.Created, "x", `{"n": 1}`))
	token := b.takeJobs(t)[0].Token
	c := claim(t, r, token)
	if c.Token != token || string(c.Payload) != `{"n": 1}` || c.Deleted || c.Fresh || c.Incarnation != 1 || c.Attempts != 1 {
		t.Errorf("got claim %+v", c)
	}
	got := b.row(t, "x")
	if !is(got.Claim, c.ID) || !is(got.Process, r.process.ID()) || !is(got.Job, 7) || got.Attempts != 1 || got.Asked || got.Status != "started" {
		t.Errorf("got row %+v", got)
	}
}

func TestClaimIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, other := b.registry(t), b.registry(t)
	token := b.create(t, 1, "x")
	stale := token
	token = b.update(t, 2, "x")
	refuse := func(t *testing.T, by *Registry, token Token, want error) {
		t.Helper()
		before := b.row(t, "x")
		if c, err := by.Claim(t.Context(), token, 8); !errors.Is(err, want) || c != nil {
			t.Errorf("got %v, %v; want %v", c, err, want)
		}
		after := b.row(t, "x")
		if asked := errors.Is(want, ErrHandedOver); after.Asked != asked {
			t.Errorf("asked is %v, want %v", after.Asked, asked)
		}
		if before.Attempts != after.Attempts || (before.Claim == nil) != (after.Claim == nil) {
			t.Errorf("row was %+v and is %+v", before, after)
		}
	}
	refuse(t, r, stale, ErrSuperseded)
	refuse(t, r, Token{kind, "absent", 1}, ErrSuperseded)
	refuse(t, r, Token{"unknown", "x", token.Version}, ErrSuperseded)
	b.kill(t, other)
	refuse(t, other, token, ErrProcessLost)
	c := claim(t, r, token)
	refuse(t, r, stale, ErrSuperseded)
	refuse(t, r, token, ErrHandedOver)
	if err := r.Publish(c, Result{}, nil); err != nil {
		t.Fatal(err)
	}
	refuse(t, r, token, ErrSuperseded)
}

func TestClaimOfADeadProcessIsTaken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dead, r := b.registry(t), b.registry(t)
	token := b.create(t, 1, "x")
	first := claim(t, dead, token)
	if _, err := r.Claim(t.Context(), token, 8); !errors.Is(err, ErrHandedOver) {
		t.Fatalf("a live process's claim: %v", err)
	}
	b.kill(t, dead)
	second := claim(t, r, token)
	got := b.row(t, "x")
	if !is(got.Claim, second.ID) || got.Asked || got.Attempts != 2 || second.Attempts != 2 {
		t.Errorf("got %+v", got)
	}
	if err := dead.Publish(first, Result{}, nil); !errors.Is(err, ErrFenced) {
		t.Errorf("the dead process's run ended with %v", err)
	}
	if got := b.row(t, "x"); !is(got.Claim, second.ID) || got.Synced != nil {
		t.Errorf("the dead process's run left a trace: %+v", got)
	}
}

func TestFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.registry(t)
	c := claim(t, r, b.create(t, 1, "x"))
	if err := r.Publish(c, Result{}, nil); err != nil || !c.First {
		t.Errorf("the first is %v: %v", c.First, err)
	}
	b.apply(t, event(2, eventlog.Updated, "x", `{"n": 2}`))
	if c := claim(t, r, Token{kind, "x", b.row(t, "x").Version}); c.First {
		t.Error("the second is first")
	}
}

// What is in place may belong to an earlier incarnation of the key, also when the run
// that put it there did not come to say so.
func TestFresh(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		incarnation int
		synced      *int
		timeline    int // of the source
		want        bool
	}{
		"first copy":                      {1, nil, 1, false},
		"same incarnation":                {1, new(1), 1, false},
		"after a delete":                  {2, new(2), 1, false},
		"deleted since":                   {2, new(1), 1, true},
		"deleted since, result not known": {2, nil, 1, true},
		"first copy after a failover":     {1, nil, 2, true},
		"after a failover":                {1, new(1), 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			token := b.create(t, 1, "x")
			b.exec(t, "UPDATE casq.registry SET incarnation = $1, synced_incarnation = $2, timeline = $3", test.incarnation, test.synced, test.timeline)
			c := claim(t, b.registry(t), token)
			if !c.First {
				t.Error("it is not the first run")
			}
			if c.Fresh != test.want {
				t.Errorf("fresh is %v", c.Fresh)
			}
		})
	}
}

// Many runs of one version at once: one of them has it, and the others are told
// that it has been told.
func TestManyClaimsOfOneVersion(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.registry(t)
	token := b.create(t, 1, "x")
	const runs = 20
	errs := make([]error, runs)
	var group sync.WaitGroup
	for i := range runs {
		group.Go(func() { _, errs[i] = r.Claim(context.Background(), token, int64(i)) })
	}
	group.Wait()
	granted := 0
	for _, err := range errs {
		switch {
		case err == nil:
			granted++
		case !errors.Is(err, ErrHandedOver):
			t.Errorf("got %v", err)
		}
	}
	if got := b.row(t, "x"); granted != 1 || !got.Asked || got.Attempts != 1 {
		t.Errorf("%d claims were granted: %+v", granted, got)
	}
}

// claimGroupOf makes one claim of a group, as [Registry.Claim] does.
func claimGroupOf(t *testing.T, token Token) []*claiming {
	t.Helper()
	return []*claiming{{token: token, job: 7, id: uuid.New(), ctx: t.Context(), done: make(chan struct{})}}
}

// After a lost answer the same claim is asked for again.
func TestTheSameClaimTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.registry(t)
	token := b.create(t, 1, "x")
	group := claimGroupOf(t, token)
	if err := r.tryClaims(group); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Claim(t.Context(), token, 8); !errors.Is(err, ErrHandedOver) {
		t.Fatal(err)
	}
	group[0].done = make(chan struct{})
	if err := r.tryClaims(group); err != nil {
		t.Fatal(err)
	}
	got := b.row(t, "x")
	if group[0].err != nil || group[0].claim == nil || got.Attempts != 1 || !got.Asked || !is(got.Claim, group[0].id) {
		t.Errorf("got %+v, %v", got, group[0].err)
	}
}

// One of a group with data that the database refuses does not spoil the others.
func TestBadDataIsItsOwnError(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.registry(t)
	good := claimGroupOf(t, b.create(t, 1, "x"))
	bad := claimGroupOf(t, Token{kind, "a\x00b", 1})
	r.claimAll(append(bad, good...))
	if good[0].err != nil || bad[0].err == nil {
		t.Errorf("good: %v, bad: %v", good[0].err, bad[0].err)
	}

	token := b.create(t, 2, "y")
	wrong := &completion{claim: claim(t, r, token), outcome: published, result: Result{Checksum: "a\x00b"}, done: make(chan struct{})}
	right := &completion{claim: good[0].claim, outcome: published, done: make(chan struct{})}
	r.completeAll([]*completion{wrong, right})
	if right.err != nil || wrong.err == nil {
		t.Errorf("right: %v, wrong: %v", right.err, wrong.err)
	}
	if got := b.row(t, "x"); got.Status != "synced" {
		t.Errorf("got %+v", got)
	}
}

// Claims come with payloads, which may be too much for the link at once: a group
// that is cut off for it is asked for in halves, until it gets through.
func TestClaimsThatAreTooMuchAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.registry(t)
	b.exec(t, `CREATE TABLE tried (claims bigint)`)
	b.exec(t, `CREATE FUNCTION too_much() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF (SELECT count(*) FROM now) > 5 THEN RAISE EXCEPTION 'as a link does that is too slow' USING ERRCODE = 'query_canceled'; END IF;
		INSERT INTO tried SELECT count(*) FROM now;
		RETURN NULL;
	END $$`)
	var group []*claiming
	for i := range int64(40) {
		group = append(group, claimGroupOf(t, b.create(t, i+1, fmt.Sprintf("x%02d", i)))...)
	}
	b.exec(t, `CREATE TRIGGER too_much AFTER UPDATE ON casq.registry REFERENCING NEW TABLE AS now FOR EACH STATEMENT EXECUTE FUNCTION too_much()`)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, c := range group {
		c.ctx = ctx //nolint:fatcontext // nobody waits for longer; each has its own
	}
	r.claimAll(group)
	for _, c := range group {
		if c.err != nil || c.claim == nil {
			t.Errorf("%s: %v", c.token.ResourceID, c.err)
		}
	}
	var most, claims int
	if err := b.pool.QueryRow(t.Context(), "SELECT max(claims), sum(claims) FROM tried").Scan(&most, &claims); err != nil || most != 5 || claims != 40 {
		t.Errorf("%d claims, %d at most at once; want 40 and 5, %v", claims, most, err)
	}
}
