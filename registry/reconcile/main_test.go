package reconcile

import (
	"os"
	"testing"

	"casq/internal/testing/testdb"
	"casq/internal/testing/testproc"
)

func TestMain(m *testing.M) {
	if code, child := testproc.Child(map[string]func(args []string) error{reconcileChild: reconcileInChild}); child {
		os.Exit(code)
	}
	testdb.Main(m)
}
