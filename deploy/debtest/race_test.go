//go:build race

package debtest

// raceFlag builds with the race detector, as this test was.
var raceFlag = []string{"-race"}
