package reads

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"casq/replica"

	"github.com/jackc/pgx/v5/pgxpool"
)

// TestR50FrozenReplay: replay stands still, now on the one standby, now on the
// other, under a mixed load. No client is shown its document as it was before its
// last write.
//
//nolint:tparallel // The subtests are steps on the same servers.
func TestR50FrozenReplay(t *testing.T) {
	t.Parallel()
	r := newReplicaSite(t)
	const clients, writes = 4, 60
	// load has each client write a document and read it back; it returns the stale reads.
	load := func(t *testing.T, prepare func(round int), open func(client int) (write func(text string) error, read func() (string, error))) int64 {
		t.Helper()
		var stale atomic.Int64
		for round := range 3 {
			prepare(round)
			var group sync.WaitGroup
			for client := range clients {
				write, read := open(client)
				group.Go(func() {
					for n := range writes {
						text := fmt.Sprint(round, " ", n)
						if err := write(text); err != nil {
							t.Error(err)
							return
						}
						for range 2 {
							if got, err := read(); err != nil {
								t.Error(err)
							} else if got != text {
								stale.Add(1)
							}
						}
					}
				})
			}
			group.Wait()
		}
		return stale.Load()
	}
	prepare := func(round int) {
		for i := range r.standby {
			r.Resume(t, i)
		}
		if round < 2 {
			r.Pause(t, round)
		} else {
			r.Pause(t)
		}
	}
	t.Run("twin/round robin", func(t *testing.T) {
		pools := []*pgxpool.Pool{r.Primary, r.standby[0], r.standby[1]}
		var turn atomic.Int64
		stale := load(t, prepare, func(client int) (func(string) error, func() (string, error)) {
			id := fmt.Sprint("twin", client)
			return func(text string) error {
					_, err := r.Primary.Exec(t.Context(), upsert, id, text)
					return err
				}, func() (text string, err error) {
					err = pools[turn.Add(1)%3].QueryRow(t.Context(), "SELECT coalesce((SELECT d.body FROM documents AS d WHERE d.id = $1), '')", id).Scan(&text)
					return text, err
				}
		})
		if stale == 0 {
			t.Error("no read was stale")
		}
	})
	t.Run("ours/watched", func(t *testing.T) {
		_, open := newPositions(t)
		writer, reader := r.open(t, replica.Options{Store: open()}), r.open(t, replica.Options{Store: open()})
		stale := load(t, prepare, func(client int) (func(string) error, func() (string, error)) {
			id := fmt.Sprint("watched", client)
			return writing(t, writer.Session(document(id)), id), func() (text string, err error) {
				err = reader.Session(document(id)).Read().QueryRow(t.Context(), readBody, id).Scan(&text)
				return text, err
			}
		})
		wantServed(t, reader, stale)
	})
	t.Run("ours/by token", func(t *testing.T) {
		db := r.open(t, replica.Options{})
		stale := load(t, prepare, func(client int) (func(string) error, func() (string, error)) {
			id, s := fmt.Sprint("told", client), db.Session()
			return writing(t, s, id), func() (text string, err error) {
				next := db.Session()
				next.Carry(s.Token(t.Context()))
				err = next.Read().QueryRow(t.Context(), readBody, id).Scan(&text)
				return text, err
			}
		})
		wantServed(t, db, stale)
	})
}

const readBody = "SELECT d.body FROM documents AS d WHERE d.id = $1"

// writing returns what writes a document through a session.
func writing(t *testing.T, s *replica.Session, id string) func(text string) error {
	return func(text string) error {
		_, err := s.Write().Exec(t.Context(), upsert, id, text)
		return err
	}
}

// wantServed says that standbys served, and never what was stale.
func wantServed(t *testing.T, db *replica.DB, stale int64) {
	t.Helper()
	if stale > 0 {
		t.Errorf("%d reads were stale", stale)
	}
	counts := db.Counts().Choices
	if counts[replica.CaughtUp]+counts[replica.Waited] == 0 {
		t.Errorf("no standby served: %v", counts)
	}
}
