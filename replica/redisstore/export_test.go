package redisstore

import (
	"casq/replica"

	"github.com/redis/go-redis/v9"
)

// KeyOf returns the key of an object's hash.
func KeyOf(s *Store, object replica.Object) (redis.UniversalClient, string) {
	return s.client, s.keys[fieldOf(object).tag()]
}
