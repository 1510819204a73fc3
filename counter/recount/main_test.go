package recount

import (
	"flag"
	"testing"

	"casq/internal/testing/testdb"

	"go.uber.org/goleak"
)

// usualChecks are made unless -rapid.checks says otherwise.
const usualChecks = "20"

func TestMain(m *testing.M) {
	for name, value := range map[string]string{"rapid.checks": usualChecks, "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	// Of a server that was down: it ends a second after its pool was closed.
	dials := goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial")
	testdb.Main(m, dials)
}
