package replicas

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"casq/internal/programs/bench/measure"
	"casq/replica"
)

const (
	reliefClients    = 8
	reliefOperations = 1000 // of each client
	reliefLate       = 3 * time.Millisecond
)

// Relief measures how many percent of all statements the primary is spared, where each
// client reads its own writes back at once and standbys are some milliseconds late.
// The reference is the best that was published.
func Relief(ctx context.Context, m *measure.Bench) (_ []measure.Result, err error) {
	s, err := newSite(ctx, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, standby := range s.Standbys {
		if err := standby.SetApplyDelay(ctx, reliefLate); err != nil {
			return nil, err
		}
	}
	var results []measure.Result
	for _, mix := range []struct {
		reads     int
		published float64
	}{{90, 75.7}, {70, 49.8}, {50, 32.0}} {
		m.Say("%d %% reads", mix.reads)
		spared, err := s.relieved(ctx, mix.reads)
		if err != nil {
			return nil, err
		}
		results = append(results, measure.Result{
			Bench: fmt.Sprintf("relief/%d", mix.reads), Ours: spared, Reference: mix.published, Unit: "%",
			Note: fmt.Sprintf("statements that the primary is spared, at %d %% reads, each write read back at once by its client; %d clients, standbys %s late; reference: published",
				mix.reads, reliefClients, reliefLate),
		})
	}
	return results, nil
}

func (s *site) relieved(ctx context.Context, reads int) (float64, error) {
	db, err := s.open(ctx, 2)
	if err != nil {
		return 0, err
	}
	defer db.Close()
	errs := make([]error, reliefClients)
	var group sync.WaitGroup
	for client := range errs {
		group.Go(func() { errs[client] = relievedClient(ctx, db, client, reads) })
	}
	group.Wait()
	var all, standby int64
	for reason, n := range db.Counts().Choices {
		all += n
		if reason.Standby() {
			standby += n
		}
	}
	return 100 * float64(standby) / float64(all), errors.Join(errs...)
}

func relievedClient(ctx context.Context, db *replica.DB, client, reads int) error {
	session := db.Session()
	var version int64
	for range reliefOperations {
		id := fmt.Sprint(client)
		if rand.N(100) >= reads {
			if _, err := session.Write().Exec(ctx, "UPDATE documents SET version = version + 1 WHERE id = $1", id); err != nil {
				return err
			}
		}
		if err := session.Read().QueryRow(ctx, readVersion, id).Scan(&version); err != nil {
			return err
		}
	}
	return nil
}
