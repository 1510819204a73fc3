// Package races plays each race that casq must win, on real servers, beside the
// naive twins that lose it. A race is a top-level test TestR<nn><Name>: its doc
// comment is the story, its first sentence the title in the table of
// "make races"; the subtests twin/<name> assert that the twin does go wrong, and
// ours that casq does not.
package races

import (
	"testing"

	"casq/internal/testdb"
)

func TestMain(m *testing.M) { testdb.Main(m) }
