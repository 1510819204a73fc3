// Package span reads lengths of time in the words of CI files.
package span

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// ErrSpan says that a text is no length of time.
var ErrSpan = errors.New("no length of time, such as 1 week or 2 hrs 30 mins")

// most is a century: more is no time that anybody means.
const most = 100 * 365 * 24 * time.Hour

// Parse reads "1 week", "3 mins 4 sec", "2h20min", "1 day and 2 hours"; a number alone is
// of seconds, and an empty text is 0. It returns [ErrSpan] of anything else, and of more
// than a century.
func Parse(text string) (time.Duration, error) {
	rest := strings.ToLower(strings.TrimSpace(text))
	var total time.Duration
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		if digits == 0 || digits > 6 {
			return 0, ErrSpan
		}
		n, err := strconv.Atoi(rest[:digits])
		if err != nil {
			return 0, ErrSpan
		}
		rest = strings.TrimLeft(rest[digits:], " ")
		letters := len(rest) - len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))
		unit, known := units[rest[:letters]]
		if !known || time.Duration(n) > (most-total)/unit {
			return 0, ErrSpan
		}
		total += time.Duration(n) * unit
		rest = strings.TrimLeft(rest[letters:], " ,")
		rest = strings.TrimPrefix(rest, "and ")
	}
	return total, nil
}

const (
	day  = 24 * time.Hour
	week = 7 * day
	// A month has 30 days, and a year 365.
	month = 30 * day
	year  = 365 * day
)

var units = map[string]time.Duration{
	"": time.Second, "s": time.Second, "sec": time.Second, "secs": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "mins": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hrs": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": day, "day": day, "days": day,
	"w": week, "wk": week, "wks": week, "week": week, "weeks": week,
	"mo": month, "mos": month, "month": month, "months": month,
	"y": year, "yr": year, "yrs": year, "year": year, "years": year,
}
