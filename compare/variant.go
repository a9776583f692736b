package compare

import (
	"math"
	"slices"

	"lte/record"

	"gonum.org/v1/gonum/stat"
)

// Variant is one of the compared settings of a method: the finished runs that differ only in their seed.
type Variant struct {
	Name  string
	About string    // description, if the name is not enough; {N}, {r} and {K} stand for heads, rank and interval
	Terms []Setting // that follow the method in the name
	Runs  []Run     // at least one
}

// values returns a number of every run that has it.
func (v Variant) values(number func(Run) float64) (x []float64) {
	for _, r := range v.Runs {
		if n := number(r); !math.IsNaN(n) {
			x = append(x, n)
		}
	}
	return x
}

// MeanStd returns the mean of a number and its sample standard deviation, 0 for one run, over the runs that have it; NaN and 0 if none has.
func (v Variant) MeanStd(number func(Run) float64) (mean, std float64) {
	return meanStd(v.values(number))
}

func meanStd(x []float64) (mean, std float64) {
	if len(x) < 2 {
		return stat.Mean(x, nil), 0
	}
	return stat.MeanStdDev(x, nil)
}

// Mean returns the mean of MeanStd.
func (v Variant) Mean(number func(Run) float64) float64 {
	mean, _ := v.MeanStd(number)
	return mean
}

// Numbers of a finished run.
func Top1(r Run) float64   { return r.Summary.TestTop1 }
func Images(r Run) float64 { return float64(r.Summary.Images) }
func sent(r Run) float64   { return float64(r.Summary.BytesSentPerRank) }
func memory(r Run) float64 { return orNaN(float64(r.Summary.PeakMemory)) }
func rate(r Run) float64   { return r.Summary.ImagesPerSecond }
func wall(r Run) float64   { return r.Summary.Seconds }

// orNaN returns NaN for 0, which means that a number was not recorded.
func orNaN(x float64) float64 {
	if x == 0 {
		return math.NaN()
	}
	return x
}

// Numbers of a record, NaN if it lacks them.
func TestTop1(r record.Record) float64     { return orMissing(r.TestTop1) }
func testLoss(r record.Record) float64     { return orMissing(r.TestLoss) }
func GradientRank(r record.Record) float64 { return orMissing(r.GradientRank) }
func UpdateRank(r record.Record) float64   { return orMissing(r.UpdateRank) }
func Alignment(r record.Record) float64    { return orMissing(r.Alignment) }
func Grassmann(r record.Record) float64    { return orMissing(r.Grassmann) }

func orMissing(x *float64) float64 {
	if x == nil {
		return math.NaN()
	}
	return *x
}

// recorded returns a number of the records from a step on that have it, in order.
func recorded(r Run, from int, number func(record.Record) float64) (x []float64) {
	for _, at := range r.Records {
		if n := number(at); at.Step >= from && !math.IsNaN(n) {
			x = append(x, n)
		}
	}
	return x
}

// First returns a number of the first record after the warm-up that has it, NaN if none has.
func First(number func(record.Record) float64) func(Run) float64 {
	return func(r Run) float64 { return append(recorded(r, r.Config.Schedule.Warmup, number), math.NaN())[0] }
}

// Last returns a number of the last record that has it, NaN if none has.
func Last(number func(record.Record) float64) func(Run) float64 {
	return func(r Run) float64 {
		x := append([]float64{math.NaN()}, recorded(r, 0, number)...)
		return x[len(x)-1]
	}
}

// Largest returns the largest value of a number over all records, NaN if none has it.
func Largest(number func(record.Record) float64) func(Run) float64 {
	return func(r Run) float64 {
		if x := recorded(r, 0, number); x != nil {
			return slices.Max(x)
		}
		return math.NaN()
	}
}

// Reached returns the number of images that a run had seen when its test accuracy reached a value: interpolated linearly between two
// evaluations, at the first one at the earliest, NaN if it never did.
func Reached(accuracy float64) func(Run) float64 {
	return func(r Run) float64 {
		var before *record.Record
		for i, at := range r.Records {
			x := TestTop1(at)
			if math.IsNaN(x) {
				continue
			}
			if x >= accuracy {
				if before == nil {
					return float64(at.Images)
				}
				from := TestTop1(*before)
				return float64(before.Images) + (accuracy-from)/(x-from)*float64(at.Images-before.Images)
			}
			before = &r.Records[i]
		}
		return math.NaN()
	}
}
