//go:build race

package main

// raceFlag builds with the race detector, as this test was.
var raceFlag = []string{"-race"}
