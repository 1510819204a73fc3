package cursor

import (
	"os"
	"testing"

	"casq/internal/testing/testdb"
	"casq/internal/testing/testproc"
)

func TestMain(m *testing.M) {
	if code, child := testproc.Child(map[string]func([]string) error{"frozen": frozenChild}); child {
		os.Exit(code)
	}
	testdb.Main(m)
}
