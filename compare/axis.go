package compare

import (
	"math"

	"gonum.org/v1/plot"
)

// axis is an axis of a figure.
type axis struct {
	label  string
	format func(float64) string // of tick labels
	log    bool
	at     []float64 // ticks; nil: at round numbers
}

// Bounds of what is drawn, between which differences, and quotients on a logarithmic axis, are finite.
const (
	largest  = 1e100
	smallest = 1e-100 // on a logarithmic axis
	finest   = 1e-9   // least length of an axis, relative to its larger end: float64 must distinguish the ticks
	maxTicks = 12
)

// contains reports whether the axis can show a number.
func (a axis) contains(x float64) bool {
	return !math.IsNaN(x) && !math.IsInf(x, 0) && (x > 0 || !a.log)
}

// clamp returns the nearest number that can be drawn.
func (a axis) clamp(x float64) float64 {
	if a.log {
		return min(max(x, smallest), largest)
	}
	return min(max(x, -largest), largest)
}

// span returns the ends of an axis that shows low to high, low <= high.
func (a axis) span(low, high float64) (float64, float64) {
	low, high = a.clamp(low), a.clamp(high)
	switch least := finest * max(math.Abs(low), math.Abs(high)); {
	case high-low > max(least, smallest):
		return low, high
	case a.log:
		return low / 2, high * 2
	default:
		return low - max(1, least), high + max(1, least)
	}
}

// Ticks implements plot.Ticker.
func (a axis) Ticks(low, high float64) (all []plot.Tick) {
	low, high = a.span(low, high)
	values := a.at
	if values == nil && a.log && high/low > 5 {
		values = decades(low, high)
	} else if values == nil {
		values = round(low, high)
	}
	for _, x := range values {
		all = append(all, plot.Tick{Value: x, Label: a.format(x)})
	}
	return all
}

// decades returns the powers of ten within a range, with those times 2 and 5 if it is short, and not all of them if it is long.
func decades(low, high float64) (values []float64) {
	between := []float64{1}
	if high/low < 100 {
		between = []float64{1, 2, 5}
	}
	first, last := math.Floor(math.Log10(low)), math.Floor(math.Log10(high))
	stride := math.Ceil((last - first + 1) / maxTicks)
	for power := stride * math.Ceil(first/stride); power <= last; power += stride {
		for _, m := range between {
			if x := m * math.Pow(10, power); x >= low*(1-1e-9) && x <= high*(1+1e-9) {
				values = append(values, x)
			}
		}
	}
	return values
}

// round returns three to six multiples of 1, 2 or 5 times a power of ten within a range.
func round(low, high float64) (values []float64) {
	power := math.Pow(10, math.Floor(math.Log10((high-low)/2.5)))
	step := power
	for _, m := range []float64{2, 5, 10} {
		if (high-low)/step > 5.5 {
			step = m * power
		}
	}
	first := math.Ceil(low/step-1e-9) + 0 // + 0 turns −0 into 0
	for i := range maxTicks {
		if first+float64(i) > high/step+1e-9 {
			break
		}
		values = append(values, (first+float64(i))*step)
	}
	return values
}
