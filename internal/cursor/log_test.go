package cursor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"casq/eventlog"
	"casq/internal/testing/await"
	"casq/internal/testing/long"
	"casq/internal/testing/testredis"
)

// records keeps what is logged as JSON, a record a line.
type records struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buffer.Write(p)
}

func (r *records) logger() *slog.Logger {
	return slog.New(slog.NewJSONHandler(r, nil))
}

// find returns the first record with a message, or nil.
func (r *records) find(t *testing.T, message string) map[string]any {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(r.buffer.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if record["msg"] == message {
			return record
		}
	}
	return nil
}

// want waits for a record, and checks that it has what each must have, and more.
func (r *records) want(t *testing.T, level, component, message string, keys ...string) map[string]any {
	t.Helper()
	var record map[string]any
	await.True(t, 30*time.Second, fmt.Sprintf("%q is logged", message), func() bool {
		record = r.find(t, message)
		return record != nil
	})
	if record["level"] != level || record["component"] != component || record["cursor"] != "test" || record["pid"] != float64(os.Getpid()) {
		t.Errorf("%v: want it at %s from %s", record, level, component)
	}
	for _, key := range append(keys, "holder", "epoch", "tick") {
		if _, has := record[key]; !has {
			t.Errorf("%v: want %s", record, key)
		}
	}
	return record
}

func TestLogOfALease(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a")
	server := testredis.Start(t)
	var first, second records
	cfg := b.config(t)
	cfg.Redis, cfg.Lease, cfg.Logger = testredis.Client(t, server), time.Minute, first.logger()
	holder := run(t, cfg)
	obtained := first.want(t, "INFO", "cursor", "lease obtained, fetching events", "waited")
	b.untilEffects(t, "a")

	cfg.Logger = second.logger()
	run(t, cfg)
	denied := second.want(t, "INFO", "lease", "cannot obtain lease, another process holds it", "expires_in")
	if denied["holder"] != obtained["holder"] {
		t.Errorf("denied because of %v, which %v holds", denied["holder"], obtained["holder"])
	}
	if err := holder.stop(); err != nil {
		t.Fatal(err)
	}
	released := first.want(t, "INFO", "cursor", "lease released, finished fetching events", "events", "held")
	if released["events"] != 1.0 || released["epoch"] != 1.0 || released["tick"] == 0.0 {
		t.Errorf("%v: want one event, the first epoch and its tick", released)
	}
	if next := second.want(t, "INFO", "cursor", "lease obtained, fetching events", "waited"); next["epoch"] != 2.0 {
		t.Errorf("%v: want the second epoch", next)
	}
}

func TestLogOfALostLease(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := setup(t)
	b.write(t, "a")
	server := testredis.Start(t)
	client := testredis.Client(t, server)
	var log records
	cfg := b.config(t)
	cfg.Redis, cfg.Lease, cfg.Logger = client, 600*time.Millisecond, log.logger()
	run(t, cfg)
	b.untilEffects(t, "a")
	if err := client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	log.want(t, "WARN", "lease", "lease renewed late")
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	lost := log.want(t, "WARN", "lease", "lease lost, another process may take over")
	if lost["epoch"] != 1.0 || lost["tick"] == 0.0 {
		t.Errorf("%v: want the first epoch and its tick", lost)
	}
	b.write(t, "b")
	b.untilEffects(t, "a", "b")
}

func TestLogOfAFence(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "a")
	var log records
	stop := newStop("batch:entered")
	cfg := b.config(t)
	cfg.Hook, cfg.Logger = stop.hook, log.logger()
	run(t, cfg)
	stop.await(t)
	b.exec(t, "UPDATE casq.cursors SET epoch = epoch + 1")
	close(stop.resume)
	fenced := log.want(t, "WARN", "cursor", "fenced, batch rolled back", "new_epoch")
	if fenced["epoch"] != 1.0 || fenced["new_epoch"] != 2.0 {
		t.Errorf("%v: want both epochs", fenced)
	}
	b.untilEffects(t, "a")
}

func TestLogOfAFailure(t *testing.T) {
	t.Parallel()
	for name, consumer := range map[string]func(){
		"error": func() {},
		"panic": func() { panic("as told") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.write(t, "a")
			var log records
			failed := false
			cfg := b.config(t)
			cfg.Logger = log.logger()
			cfg.Consumer = writer{fail: func(eventlog.Batch) error {
				if failed {
					return nil
				}
				failed = true
				consumer()
				return errors.New("fail as told")
			}}
			run(t, cfg)
			record := log.want(t, "ERROR", "cursor", "batch failed, lease released", "err")
			if text, ok := record["err"].(string); !ok || !strings.Contains(text, "as told") {
				t.Errorf("%v: want the cause", record)
			}
			b.untilEffects(t, "a")
		})
	}
}

// TestAnnouncedTicksAreRead: with an hour between two polls.
func TestAnnouncedTicksAreRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	cfg := b.config(t)
	cfg.Interval, cfg.Listens = time.Hour, true
	run(t, cfg)
	for i, resource := range []string{"a", "b"} {
		b.write(t, resource)
		b.tick(t)
		b.untilEffects(t, []string{"a", "b"}[:i+1]...)
	}
}
