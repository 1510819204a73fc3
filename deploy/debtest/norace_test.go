//go:build !race

package debtest

var raceFlag []string
