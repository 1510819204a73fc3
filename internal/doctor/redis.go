package doctor

import (
	"context"
	"strconv"
	"strings"

	"casq/internal/redisurl"
)

const oldestRedis = 7

// redis looks at one server; of a Cluster at the one that answers.
func (d *doctor) redis(ctx context.Context) {
	if d.cfg.RedisURL == "" {
		d.skip(Redis, "none is configured, and none is needed", "connection", "version", "eviction")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	client, err := redisurl.Open(d.cfg.RedisURL)
	text := ""
	if err == nil {
		text, err = client.Info(ctx).Result()
		_ = client.Close()
	}
	if err != nil {
		d.add(Redis, "connection", Error, "start it, or correct its URL, its password, or what its ACL lets the user do (INFO)", "%s", err)
		d.skip(Redis, "it does not answer", "version", "eviction")
		return
	}
	d.ok(Redis, "connection", "it answers")
	info := parseInfo(text)
	version := info["redis_version"]
	major, _, _ := strings.Cut(version, ".")
	switch n, err := strconv.Atoi(major); {
	case err != nil:
		d.skip(Redis, "it does not say its version", "version")
	case n < oldestRedis:
		d.add(Redis, "version", Error, "upgrade it to 7 or newer", "Redis %s", version)
	default:
		d.ok(Redis, "version", "Redis %s", version)
	}
	policy, limit := info["maxmemory_policy"], info["maxmemory"]
	switch {
	case policy == "" || limit == "":
		d.skip(Redis, "it does not say its policy", "eviction")
	case policy != "noeviction" && limit != "0":
		d.add(Redis, "eviction", Warning, "CONFIG SET maxmemory-policy noeviction, and in its configuration",
			"with %s and a limit of %s bytes counters are thrown away before they are written, and are recounted", policy, limit)
	default:
		d.ok(Redis, "eviction", "nothing is thrown away: %s, limit %s", policy, limit)
	}
}

func parseInfo(text string) map[string]string {
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info
}
