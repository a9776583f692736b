package experiment

import (
	"math"

	"lte/train"
)

// Line is one line of the comparison: its finished runs, a seed each.
type Line struct {
	Name, About string
	Runs        []Result
}

// Lines groups results by line, in the comparison's order; lines without a finished run are left out.
func Lines(results []Result) (all []Line) {
	for _, l := range lines {
		of := Line{Name: l.name, About: l.about}
		for _, r := range results {
			if r.Line == l.name {
				of.Runs = append(of.Runs, r)
			}
		}
		if of.Runs != nil {
			all = append(all, of)
		}
	}
	return all
}

// over returns the mean of a number over the seeds, and its standard deviation, 0 of one seed. Runs without one are left
// out; without any the mean is NaN.
func (l Line) over(number func(Result) float64) (mean, spread float64) {
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

func (l Line) top1() float64 {
	mean, _ := l.over(top1)
	return mean
}

func top1(r Result) float64 { return r.Summary.TestTop1 }

// What of a record is drawn and judged; NaN where it was not measured.
func testTop1(r train.Record) float64     { return value(r.TestTop1) }
func gradientRank(r train.Record) float64 { return value(r.GradientRank) }
func updateRank(r train.Record) float64   { return value(r.UpdateRank) }
func alignment(r train.Record) float64    { return value(r.Alignment) }
func grassmann(r train.Record) float64    { return value(r.Grassmann) }

func value(x *float64) float64 {
	if x == nil {
		return math.NaN()
	}
	return *x
}

// first returns a number of the first record after the warm-up that has it, NaN where none has.
func first(number func(train.Record) float64) func(Result) float64 {
	return func(r Result) float64 {
		for _, record := range r.Records {
			if x := number(record); record.Step >= r.Config.Schedule.Warmup && !math.IsNaN(x) {
				return x
			}
		}
		return math.NaN()
	}
}

// last returns a number of the last record that has it.
func last(number func(train.Record) float64) func(Result) float64 {
	return func(r Result) float64 {
		found := math.NaN()
		for _, record := range r.Records {
			if x := number(record); !math.IsNaN(x) {
				found = x
			}
		}
		return found
	}
}

// largest returns the largest of a number over all records.
func largest(number func(train.Record) float64) func(Result) float64 {
	return func(r Result) float64 {
		found := math.NaN()
		for _, record := range r.Records {
			if x := number(record); !(x <= found) && !math.IsNaN(x) {
				found = x
			}
		}
		return found
	}
}

// reached returns how many images a run had seen when its test accuracy came to that, between two evaluations on a
// straight line; NaN where it never did, or had at the first evaluation.
func reached(r Result, accuracy float64) float64 {
	var before *train.Record
	for i, record := range r.Records {
		x := testTop1(record)
		if math.IsNaN(x) {
			continue
		}
		if x >= accuracy {
			if before == nil {
				return math.NaN()
			}
			from := testTop1(*before)
			part := (accuracy - from) / (x - from)
			return float64(before.Images) + part*float64(record.Images-before.Images)
		}
		before = &r.Records[i]
	}
	return math.NaN()
}
