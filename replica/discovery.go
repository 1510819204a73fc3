package replica

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// discoveryRetry is when a discovery that failed is asked again.
const discoveryRetry = 5 * time.Second

// discover asks Options.Standbys, and adds and removes hosts until they are those
// that it names. Zero, with an error, is an error that stays: a connection string
// that cannot be read.
func (db *DB) discover(ctx context.Context) (again time.Duration, err error) {
	urls, again, err := db.options.Standbys(ctx)
	if err != nil {
		return discoveryRetry, fmt.Errorf("list the standbys: %w", err)
	}
	wanted := make(map[string]bool, len(urls))
	var errs []error
	for _, url := range urls {
		wanted[url] = true
		errs = append(errs, db.Add(ctx, url))
	}
	for _, url := range db.urls() {
		if !wanted[url] {
			db.Remove(url)
		}
	}
	return again, errors.Join(errs...)
}

func (db *DB) rediscover(ctx context.Context, again time.Duration) {
	for again > 0 {
		timer := time.NewTimer(again)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		var err error
		again, err = db.discover(ctx)
		if err != nil && ctx.Err() == nil {
			db.options.Logger.WarnContext(ctx, "standbys stay as they were", "err", err)
			again = max(again, discoveryRetry)
		}
	}
}

func (db *DB) urls() []string {
	db.mu.Lock()
	defer db.mu.Unlock()
	urls := make([]string, 0, len(db.byURL))
	for url := range db.byURL {
		urls = append(urls, url)
	}
	return urls
}

// Add adds a standby by its connection string; one that is there already is left
// alone. Reads go there once a probe has shown that it can be used.
func (db *DB) Add(ctx context.Context, url string) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.byURL[url] != nil {
		return nil
	}
	if db.background.Err() != nil {
		return errors.New("add a standby: the DB is closed")
	}
	h, err := db.newHost(ctx, url)
	if err != nil {
		return err
	}
	run, cancel := context.WithCancel(db.background)
	h.cancel = cancel
	db.byURL[url] = h
	hosts := append(append([]*host(nil), *db.hosts.Load()...), h)
	db.hosts.Store(&hosts)
	go h.run(run)
	return nil
}

// Remove takes a standby out by its connection string. Reads that are on it end in
// peace; its pool is closed behind them.
func (db *DB) Remove(url string) {
	db.mu.Lock()
	defer db.mu.Unlock()
	gone := db.byURL[url]
	if gone == nil {
		return
	}
	delete(db.byURL, url)
	var hosts []*host
	for _, h := range *db.hosts.Load() {
		if h != gone {
			hosts = append(hosts, h)
		}
	}
	db.hosts.Store(&hosts)
	db.group.Go(gone.close)
}
