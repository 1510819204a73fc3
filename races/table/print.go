package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// titleWidth keeps a line of the table on one line of a wide terminal.
const titleWidth = 72

// printTable prints one line for each test, the log of the lost ones, and the
// last line. An id with several tests is won when all of them are. The error
// is [errLost] when a race is lost.
func printTable(w io.Writer, races []race, res *results) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "race\twhat\tnaive twins\tours\tseconds")
	ids := map[string]bool{}
	var logs []string
	for _, r := range races {
		v := res.verdict(r.test)
		twins := strings.Join(v.twins, ", ")
		if twins == "" {
			twins = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.1f\n", r.id, shorten(r.title), twins, v.ours, res.seconds[r.test])
		if all, seen := ids[r.id]; !seen || all {
			ids[r.id] = v.won
		}
		if !v.won {
			logs = append(logs, r.test)
		}
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("print table: %w", err)
	}
	if len(logs) == 0 && res.action[""] != "pass" {
		printLogs(w, res, "")
		return errors.New("play the races: each was won, but go test failed beside them: see above")
	}
	if len(logs) > 0 {
		printLogs(w, res, append(logs, "")...)
	}
	won := 0
	for _, all := range ids {
		if all {
			won++
		}
	}
	fmt.Fprintf(w, "races: %d won, %d lost\n", won, len(ids)-won)
	if won < len(ids) {
		return errLost
	}
	return nil
}

// printLogs prints what the tests wrote; "" stands for what belongs to none: a
// build that broke, a panic, a leak.
func printLogs(w io.Writer, res *results, tests ...string) {
	for _, test := range tests {
		if out := res.output[test]; out != nil {
			fmt.Fprintf(w, "\n%s", out)
		}
	}
	fmt.Fprintln(w)
}

func shorten(s string) string {
	if utf8.RuneCountInString(s) <= titleWidth {
		return s
	}
	return strings.TrimRight(string([]rune(s)[:titleWidth-1]), " ,;:") + "…"
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}
