// Package races plays each race that casq must win, on real servers, beside the
// naive twins that lose it. A race is a top-level test TestR<nn><Name>: its doc
// comment is the story, its first sentence the title in the table of
// "make races"; the subtests twin/<name> assert that the twin does go wrong, and
// ours that casq does not.
package races

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"casq/internal/testing/testdb"
	"casq/internal/testing/testproc"
)

// childVariable names what a process that a race starts from this binary does
// in place of the tests.
const childVariable = "CASQ_TEST_CHILD"

// children are registered by the files that start them.
var children = map[string]func() int{}

func TestMain(m *testing.M) {
	if child := children[os.Getenv(childVariable)]; child != nil {
		os.Exit(child())
	}
	if code, child := testproc.Child(map[string]func([]string) error{
		r88Child: r88Holder, r134Child: r134Holder, holderChild: holderMain, countingChild: countingMain,
	}); child {
		os.Exit(code)
	}
	// All together are a part of CI by themselves; "make races" has one of them.
	flag.Parse()
	if testing.Short() {
		fmt.Println("races are not played with -short")
		os.Exit(0)
	}
	testdb.Main(m)
}
