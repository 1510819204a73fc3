// Package reads plays the races of reads from standbys, as package races does those of
// the rest.
package reads

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"casq/internal/testing/expect"
	"casq/internal/testing/testdb"
	"casq/internal/testing/testproc"
)

func TestMain(m *testing.M) {
	if code, child := testproc.Child(map[string]func([]string) error{dyingWriterChild: dyingWriterMain}); child {
		os.Exit(code)
	}
	// "make races" has one of them, and CI all.
	flag.Parse()
	if testing.Short() {
		fmt.Println("races are not played with -short")
		os.Exit(0)
	}
	testdb.Main(m)
}

var must = expect.NoError
