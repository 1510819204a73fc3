package feed_test

import (
	"testing"

	"casq/internal/testing/testdb"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// Of a server that was down: it ends a second after its pool was closed.
	dials := goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial")
	testdb.Main(m, dials)
}
