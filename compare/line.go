package compare

import (
	"math"

	"lte/record"
)

// Line is one line of a comparison: finished runs that differ by their seed alone.
type Line struct {
	Name  string
	About string    // what it is, where the name does not say; {N}, {r} and {K} stand for its heads, rank and interval
	Terms []Setting // what of the name stands behind the method
	Runs  []Run     // at least one
}

// Over returns the mean of a number over the seeds, and its standard deviation, 0 of one seed. Runs without one are left
// out; without any the mean is NaN.
func (l Line) Over(number func(Run) float64) (mean, spread float64) {
	var x []float64
	for _, r := range l.Runs {
		if v := number(r); !math.IsNaN(v) {
			x = append(x, v)
		}
	}
	n := float64(len(x))
	for _, v := range x {
		mean += v / n
	}
	if n == 0 {
		return math.NaN(), 0
	}
	for _, v := range x {
		spread += (v - mean) * (v - mean)
	}
	return mean, math.Sqrt(spread / max(1, n-1))
}

// Mean is Over's first result.
func (l Line) Mean(number func(Run) float64) float64 {
	mean, _ := l.Over(number)
	return mean
}

// What of a finished run is compared.
func Top1(r Run) float64   { return r.Summary.TestTop1 }
func Images(r Run) float64 { return float64(r.Summary.Images) }
func sent(r Run) float64   { return float64(r.Summary.BytesSentPerRank) }
func memory(r Run) float64 { return positive(float64(r.Summary.PeakMemory)) }
func rate(r Run) float64   { return r.Summary.ImagesPerSecond }
func spent(r Run) float64  { return r.Summary.Seconds }

// positive is NaN for 0, which says that a run does not tell.
func positive(x float64) float64 {
	if x == 0 {
		return math.NaN()
	}
	return x
}

// What of a record is drawn and judged; NaN where it was not measured.
func TestTop1(r record.Record) float64     { return value(r.TestTop1) }
func GradientRank(r record.Record) float64 { return value(r.GradientRank) }
func UpdateRank(r record.Record) float64   { return value(r.UpdateRank) }
func Alignment(r record.Record) float64    { return value(r.Alignment) }
func Grassmann(r record.Record) float64    { return value(r.Grassmann) }

func value(x *float64) float64 {
	if x == nil {
		return math.NaN()
	}
	return *x
}

// First returns a number of the first record after the warm-up that has it, NaN where none has.
func First(number func(record.Record) float64) func(Run) float64 {
	return func(r Run) float64 {
		for _, record := range r.Records {
			if x := number(record); record.Step >= r.Config.Schedule.Warmup && !math.IsNaN(x) {
				return x
			}
		}
		return math.NaN()
	}
}

// Last returns a number of the last record that has it.
func Last(number func(record.Record) float64) func(Run) float64 {
	return func(r Run) float64 {
		found := math.NaN()
		for _, record := range r.Records {
			if x := number(record); !math.IsNaN(x) {
				found = x
			}
		}
		return found
	}
}

// Largest returns the largest of a number over all records.
func Largest(number func(record.Record) float64) func(Run) float64 {
	return func(r Run) float64 {
		found := math.NaN()
		for _, record := range r.Records {
			if x := number(record); !(x <= found) && !math.IsNaN(x) {
				found = x
			}
		}
		return found
	}
}

// Reached returns how many images a run had seen when its test accuracy came to that, between two evaluations on a
// straight line and at the first one at the earliest; NaN where it never did.
func Reached(accuracy float64) func(Run) float64 {
	return func(r Run) float64 {
		var before *record.Record
		for i, record := range r.Records {
			x := TestTop1(record)
			if math.IsNaN(x) {
				continue
			}
			if x >= accuracy {
				if before == nil {
					return float64(record.Images)
				}
				from := TestTop1(*before)
				part := (accuracy - from) / (x - from)
				return float64(before.Images) + part*float64(record.Images-before.Images)
			}
			before = &r.Records[i]
		}
		return math.NaN()
	}
}
