package registry_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"casq/eventlog"
	"casq/registry"

	"github.com/google/uuid"
)

func TestClaim(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	b.Apply(t, event(1, eventlog.Created, "x", `{"n": 1}`))
	token := b.TakeJobs(t)[0].Token
	c := claim(t, r, token)
	if c.Token != token || string(c.Payload) != `{"n": 1}` || c.Deleted || c.Fresh || c.Incarnation != 1 || c.Attempts != 1 {
		t.Errorf("got claim %+v", c)
	}
	got := b.Row(t, "x")
	if !is(got.Claim, c.ID) || !is(got.Process, r.Process().ID()) || !is(got.Job, 7) || got.Attempts != 1 || got.Asked || got.Status != "started" {
		t.Errorf("got row %+v", got)
	}
}

func TestClaimIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, other := b.Registry(t), b.Registry(t)
	token := b.Create(t, 1, "x")
	stale := token
	token = b.Update(t, 2, "x")
	refuse := func(t *testing.T, by *registry.Registry, token registry.Token, want error) {
		t.Helper()
		before := b.Row(t, "x")
		if c, err := by.Claim(t.Context(), token, 8); !errors.Is(err, want) || c != nil {
			t.Errorf("got %v, %v; want %v", c, err, want)
		}
		after := b.Row(t, "x")
		if asked := errors.Is(want, registry.ErrHandedOver); after.Asked != asked {
			t.Errorf("asked is %v, want %v", after.Asked, asked)
		}
		if before.Attempts != after.Attempts || (before.Claim == nil) != (after.Claim == nil) {
			t.Errorf("row was %+v and is %+v", before, after)
		}
	}
	refuse(t, r, stale, registry.ErrSuperseded)
	refuse(t, r, registry.Token{kind, "absent", 1}, registry.ErrSuperseded)
	refuse(t, r, registry.Token{"unknown", "x", token.Version}, registry.ErrSuperseded)
	b.Kill(t, other.Process())
	refuse(t, other, token, registry.ErrProcessLost)
	c := claim(t, r, token)
	refuse(t, r, stale, registry.ErrSuperseded)
	refuse(t, r, token, registry.ErrHandedOver)
	if err := r.Publish(c, registry.Result{}, nil); err != nil {
		t.Fatal(err)
	}
	refuse(t, r, token, registry.ErrSuperseded)
}

func TestClaimOfADeadProcessIsTaken(t *testing.T) {
	t.Parallel()
	b := setup(t)
	dead, r := b.Registry(t), b.Registry(t)
	token := b.Create(t, 1, "x")
	first := claim(t, dead, token)
	if _, err := r.Claim(t.Context(), token, 8); !errors.Is(err, registry.ErrHandedOver) {
		t.Fatalf("a live process's claim: %v", err)
	}
	b.Kill(t, dead.Process())
	second := claim(t, r, token)
	got := b.Row(t, "x")
	if !is(got.Claim, second.ID) || got.Asked || got.Attempts != 2 || second.Attempts != 2 {
		t.Errorf("got %+v", got)
	}
	if err := dead.Publish(first, registry.Result{}, nil); !errors.Is(err, registry.ErrFenced) {
		t.Errorf("the dead process's run ended with %v", err)
	}
	if got := b.Row(t, "x"); !is(got.Claim, second.ID) || got.Synced != nil {
		t.Errorf("the dead process's run left a trace: %+v", got)
	}
}

func TestFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	c := claim(t, r, b.Create(t, 1, "x"))
	if err := r.Publish(c, registry.Result{}, nil); err != nil || !c.First {
		t.Errorf("the first is %v: %v", c.First, err)
	}
	b.Apply(t, event(2, eventlog.Updated, "x", `{"n": 2}`))
	if c := claim(t, r, registry.Token{kind, "x", b.Row(t, "x").Version}); c.First {
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
			token := b.Create(t, 1, "x")
			b.Exec(t, "UPDATE casq.registry SET incarnation = $1, synced_incarnation = $2, timeline = $3", test.incarnation, test.synced, test.timeline)
			c := claim(t, b.Registry(t), token)
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
	r := b.Registry(t)
	token := b.Create(t, 1, "x")
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
		case !errors.Is(err, registry.ErrHandedOver):
			t.Errorf("got %v", err)
		}
	}
	if got := b.Row(t, "x"); granted != 1 || !got.Asked || got.Attempts != 1 {
		t.Errorf("%d claims were granted: %+v", granted, got)
	}
}

// After a lost answer the same claim is asked for again.
func TestTheSameClaimTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	token := b.Create(t, 1, "x")
	id := uuid.New()
	one := registry.NewClaiming(t.Context(), token, id)
	group := []*registry.Claiming{one}
	if err := r.TryClaims(group); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Claim(t.Context(), token, 8); !errors.Is(err, registry.ErrHandedOver) {
		t.Fatal(err)
	}
	one.Again()
	if err := r.TryClaims(group); err != nil {
		t.Fatal(err)
	}
	got := b.Row(t, "x")
	if granted, err := one.Answer(); err != nil || granted == nil || got.Attempts != 1 || !got.Asked || !is(got.Claim, id) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Two claims of one resource that come in one group are answered one after the other: the
// second asks the run of the first.
func TestTwoClaimsOfOneResourceInAGroup(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	token := b.Create(t, 1, "x")
	group := []*registry.Claiming{registry.NewClaiming(t.Context(), token, uuid.New()), registry.NewClaiming(t.Context(), token, uuid.New())}
	r.ClaimAll(slices.Clone(group))
	granted, handedOver := 0, 0
	for _, c := range group {
		receive(t, "an answer", c.Done())
		switch _, err := c.Answer(); {
		case err == nil:
			granted++
		case errors.Is(err, registry.ErrHandedOver):
			handedOver++
		default:
			t.Error(err)
		}
	}
	if got := b.Row(t, "x"); granted != 1 || handedOver != 1 || got.Attempts != 1 || !got.Asked {
		t.Errorf("%d granted, %d handed over, %+v", granted, handedOver, got)
	}
}

// One of a group with data that the database refuses does not spoil the others.
func TestBadDataIsItsOwnError(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	good := registry.NewClaiming(t.Context(), b.Create(t, 1, "x"), uuid.New())
	bad := registry.NewClaiming(t.Context(), registry.Token{kind, "a\x00b", 1}, uuid.New())
	r.ClaimAll([]*registry.Claiming{bad, good})
	granted, err := good.Answer()
	if _, badErr := bad.Answer(); err != nil || badErr == nil {
		t.Errorf("good: %v, bad: %v", err, badErr)
	}

	token := b.Create(t, 2, "y")
	wrong := registry.NewPublication(claim(t, r, token), registry.Result{Checksum: "a\x00b"}, nil)
	right := registry.NewPublication(granted, registry.Result{}, nil)
	r.CompleteAll([]*registry.Completion{wrong, right})
	if right.Err() != nil || wrong.Err() == nil {
		t.Errorf("right: %v, wrong: %v", right.Err(), wrong.Err())
	}
	if got := b.Row(t, "x"); got.Status != "synced" {
		t.Errorf("got %+v", got)
	}
}

// Claims come with payloads, which may be too much for the link at once: a group
// that is cut off for it is asked for in halves, until it gets through.
func TestClaimsThatAreTooMuchAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.Registry(t)
	b.Exec(t, `CREATE TABLE tried (claims bigint)`)
	b.Exec(t, `CREATE FUNCTION too_much() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
		IF (SELECT count(*) FROM now) > 5 THEN RAISE EXCEPTION 'as a link does that is too slow' USING ERRCODE = 'query_canceled'; END IF;
		INSERT INTO tried SELECT count(*) FROM now;
		RETURN NULL;
	END $$`)
	var tokens []registry.Token
	for i := range int64(40) {
		tokens = append(tokens, b.Create(t, i+1, fmt.Sprintf("x%02d", i)))
	}
	b.Exec(t, `CREATE TRIGGER too_much AFTER UPDATE ON casq.registry REFERENCING NEW TABLE AS now FOR EACH STATEMENT EXECUTE FUNCTION too_much()`)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var group []*registry.Claiming
	for _, token := range tokens {
		group = append(group, registry.NewClaiming(ctx, token, uuid.New()))
	}
	r.ClaimAll(group)
	for i, c := range group {
		if granted, err := c.Answer(); err != nil || granted == nil {
			t.Errorf("%s: %v", tokens[i].ResourceID, err)
		}
	}
	var most, claims int
	if err := b.Pool.QueryRow(t.Context(), "SELECT max(claims), sum(claims) FROM tried").Scan(&most, &claims); err != nil || most != 5 || claims != 40 {
		t.Errorf("%d claims, %d at most at once; want 40 and 5, %v", claims, most, err)
	}
}
