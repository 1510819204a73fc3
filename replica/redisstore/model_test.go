package redisstore_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"casq/internal/testing/testredis"
	"casq/replica"
	"casq/replica/redisstore"

	"pgregory.net/rapid"
)

// model is what was written, whatever the store makes of it.
type model struct {
	newest map[replica.Object]replica.Position
	marks  map[replica.Object][]string
	// present is the primary's present position: nothing lies beyond it.
	present uint64
	// claims were read by processes that are slow, each with the position that was asked
	// for afterwards.
	claims []claimed
}

type claimed struct {
	claim string
	at    replica.Position
}

// TestTheScriptsAndAModel: whatever is called, repeated, late or lost, what the store
// tells of an object that is ready is never below what was written to it, and a mark
// goes by its own End only.
func TestTheScriptsAndAModel(t *testing.T) {
	t.Parallel()
	client := testredis.Client(t, testredis.Start(t))
	objects := []replica.Object{a, b, {}, {Namespace: "{", ID: "}"}, {Namespace: "project", ID: "\xff=;"}}
	rapid.Check(t, func(t *rapid.T) {
		ctx := t.Context()
		if err := client.FlushAll(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		s := redisstore.New(client, redisstore.Options{Timeout: 10 * time.Second})
		m := &model{newest: map[replica.Object]replica.Position{}, marks: map[replica.Object][]string{}, present: 1}
		ok := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		some := func() []replica.Object {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(objects), 1, 3, rapid.ID[replica.Object]).Draw(t, "objects")
		}
		position := func() replica.Position {
			return at(rapid.Uint64Range(1, m.present).Draw(t, "position"))
		}
		writes := 0
		t.Repeat(map[string]func(*rapid.T){
			"write": func(*rapid.T) {
				m.present++
				to := some()
				ok(s.End(ctx, to, "", at(m.present)))
				for _, o := range to {
					m.newest[o] = at(m.present)
				}
			},
			"late position": func(*rapid.T) { ok(s.End(ctx, some(), "", position())) },
			"begin": func(*rapid.T) {
				writes++
				to := some()
				for range rapid.IntRange(1, 2).Draw(t, "times") {
					ok(s.Begin(ctx, to, fmt.Sprint(writes), 7, 4711))
				}
				for _, o := range to {
					m.marks[o] = append(m.marks[o], fmt.Sprint(writes))
				}
			},
			"end": func(*rapid.T) {
				to, id := some(), fmt.Sprint(rapid.IntRange(0, writes).Draw(t, "id"))
				ok(s.End(ctx, to, id, replica.Position{}))
				for _, o := range to {
					m.marks[o] = slices.DeleteFunc(m.marks[o], func(have string) bool { return have == id })
				}
			},
			"raise": func(*rapid.T) { ok(s.Raise(ctx, nil, position(), "")) },
			"claim": func(*rapid.T) {
				known, err := s.Read(ctx, objects)
				ok(err)
				m.claims = append(m.claims, claimed{known.Claim, at(m.present)})
			},
			"late claim": func(*rapid.T) {
				if len(m.claims) > 0 {
					c := rapid.SampledFrom(m.claims).Draw(t, "claim")
					_ = s.Raise(ctx, objects, c.at, c.claim) // Refused when it is too late.
				}
			},
			"wipe": func(*rapid.T) {
				object := rapid.SampledFrom(objects).Draw(t, "object")
				_, key := redisstore.KeyOf(s, object)
				ok(client.Del(ctx, key).Err())
				for _, o := range objects {
					if _, other := redisstore.KeyOf(s, o); other == key {
						delete(m.marks, o) // Below the floor that follows, or decided by it.
					}
				}
			},
			"": func(*rapid.T) {
				for _, o := range objects {
					known, err := s.Read(ctx, []replica.Object{o})
					ok(err)
					if len(known.Unready) == 0 && known.Position.Compare(m.newest[o]) < 0 {
						t.Fatalf("%s is at %v, and the store says %+v", o, m.newest[o], known)
					}
					var ids []string
					for _, mark := range known.Writing {
						ids = append(ids, mark.ID)
					}
					slices.Sort(ids)
					want := slices.Sorted(slices.Values(m.marks[o]))
					if ids = slices.Compact(ids); !slices.Equal(ids, want) {
						t.Fatalf("%s has marks %v, want %v", o, ids, want)
					}
				}
			},
		})
	})
}
