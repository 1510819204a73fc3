package servers

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"casq/internal/testing/long"
)

func startRedis(t *testing.T, options RedisOptions) *Redis {
	t.Helper()
	r, err := StartRedis(limit(t), options)
	must(t, err)
	stopAtEnd(t, r)
	return r
}

// client makes no second try, so that a test sees each failure.
func client(t *testing.T, url string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(url)
	must(t, err)
	options.MaxRetries = -1
	options.ContextTimeoutEnabled = true
	c := redis.NewClient(options)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestKilledRedisStartsAgain(t *testing.T) {
	long.Test(t)
	t.Parallel()
	for _, tcp := range []bool{false, true} {
		for setting, want := range map[string]string{"no": "", "yes": "v"} {
			r := startRedis(t, RedisOptions{TCP: tcp, Settings: map[string]string{"appendonly": setting, "appendfsync": "always"}})
			c := client(t, r.URL())
			must(t, c.Set(t.Context(), "k", "v", 0).Err())
			must(t, r.Kill())
			if err := c.Ping(brief(t)).Err(); err == nil {
				t.Error("the killed server answers")
			}
			must(t, r.Start(limit(t)))
			if got, err := c.Get(t.Context(), "k").Result(); got != want {
				t.Errorf("appendonly %s: got %q after a kill, want %q, %v", setting, got, want, err)
			}
		}
	}
}

func TestFrozenRedisAnswersNothingUntilThawed(t *testing.T) {
	t.Parallel()
	r := startRedis(t, RedisOptions{})
	c := client(t, r.URL())
	must(t, c.Ping(t.Context()).Err())
	must(t, r.Freeze())
	if err := c.Ping(brief(t)).Err(); err == nil {
		t.Error("the frozen server answers")
	}
	must(t, r.Thaw())
	must(t, c.Ping(limit(t)).Err())
	must(t, r.Freeze())
	dir := r.Dir()
	must(t, r.Stop(limit(t)))
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("folder %s: %v", dir, err)
	}
}

func TestRedisStaysInItsFolder(t *testing.T) {
	t.Parallel()
	options := RedisOptions{Dir: filepath.Join(folder(t), "redis"), TCP: true}
	r := startRedis(t, options)
	url := r.URL()
	must(t, client(t, url).Set(t.Context(), "k", "v", 0).Err())
	must(t, r.Stop(limit(t)))
	again := startRedis(t, options)
	if again.URL() != url {
		t.Errorf("the server moved from %s to %s", url, again.URL())
	}
	got, err := client(t, url).Get(t.Context(), "k").Result()
	if got != "v" {
		t.Errorf("got %q after a stop and a start, %v", got, err)
	}
}

func TestRedisErrorShowsTheLog(t *testing.T) {
	long.Test(t)
	t.Parallel()
	_, err := StartRedis(limit(t), RedisOptions{Settings: map[string]string{"maxmemory": "much"}})
	if err == nil || !strings.Contains(err.Error(), "argument must be a memory value") {
		t.Errorf("start with a bad setting: %v", err)
	}
	c := client(t, "unix:///nowhere.sock")
	if err := c.Ping(context.Background()).Err(); err == nil {
		t.Error("a server that is not there answers")
	}
}
