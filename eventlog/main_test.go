package eventlog_test

import (
	"flag"
	"testing"

	"casq/internal/testing/testdb"
)

func TestMain(m *testing.M) {
	// A failure is printed with its seed; files would stay behind.
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
	testdb.Main(m)
}
