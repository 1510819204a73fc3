package measure

import (
	"slices"
	"time"
)

// Figures are measurements by name, those of each round by themselves.
type Figures struct{ rounds []map[string][]float64 }

// Add adds measurements to the round that is under way.
func (f *Figures) Add(name string, values ...float64) {
	round := f.rounds[len(f.rounds)-1]
	round[name] = append(round[name], values...)
}

// next begins a round.
func (f *Figures) next() { f.rounds = append(f.rounds, map[string][]float64{}) }

// all are the measurements of all rounds.
func (f *Figures) all(name string) (all []float64) {
	for _, round := range f.rounds {
		all = append(all, round[name]...)
	}
	return all
}

// Median of all measurements of a name; 0 without any.
func (f *Figures) Median(name string) float64 { return Median(f.all(name)) }

// Percentile of all measurements of a name, see [Percentile].
func (f *Figures) Percentile(name string, p int) float64 { return Percentile(f.all(name), p) }

// Compare returns the medians of ours and of a reference, which took turns, and the spread of
// their ratio.
func (f *Figures) Compare(bench, ours, reference, unit, note string) Result {
	return f.compare(bench, ours, reference, unit, note, Median)
}

// CompareAt does so with percentiles: those of all measurements, and for the spread those of
// each round.
func (f *Figures) CompareAt(p int, bench, ours, reference, unit, note string) Result {
	return f.compare(bench, ours, reference, unit, note, func(values []float64) float64 { return Percentile(values, p) })
}

func (f *Figures) compare(bench, ours, reference, unit, note string, at func([]float64) float64) Result {
	r := Result{Bench: bench, Ours: at(f.all(ours)), Reference: at(f.all(reference)), Unit: unit, Rounds: len(f.rounds), Note: note}
	for i, round := range f.rounds {
		ratio := over(at(round[ours]), at(round[reference]))
		if i == 0 {
			r.Least, r.Most = ratio, ratio
		}
		r.Least, r.Most = min(r.Least, ratio), max(r.Most, ratio)
	}
	return r
}

// Median of an odd or even number of measurements; the lower one of two then, and 0 of none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}

// Percentile by nearest rank; p from 0 to 100, and 0 of no measurements.
func Percentile(values []float64, p int) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max((len(sorted)*p+99)/100, 1)-1]
}

// over is a ratio; 0 without a reference.
func over(ours, reference float64) float64 {
	if reference == 0 {
		return 0
	}
	return ours / reference
}

// Milliseconds are how long ago something began.
func Milliseconds(began time.Time) float64 {
	return float64(time.Since(began)) / float64(time.Millisecond)
}
