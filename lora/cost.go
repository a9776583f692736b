package lora

import (
	"lte/compute"
	"lte/nn"
)

// Memory and work of heads, of an outline's layout as of a model's.

func area(rows, columns int) float64 { return float64(rows) * float64(columns) }

// Bytes is the memory of a head without its Value, and of what all heads of the layout share on a rank.
func (l *Layout) Bytes(d compute.DType) (head, all float64) {
	own, shared := nn.NewFootprint(d), nn.NewFootprint(d)
	low, g, sum := 0.0, 0.0, 0.0
	own.Floats(2 * float64(l.Length)) // Grad, Merged
	for _, p := range l.Layers {
		m, n, rows, columns := p.Layer.W.Rows, p.Layer.W.Cols, float64(l.rows(p)), float64(l.columns(p))
		factored, viaWeightGrad := l.strategy(p)
		switch l.config.Base {
		case CachedBase:
			own.Floats(area(m, n))
		case RecomputedBase:
			own.Floats(columns * float64(m+n))
		}
		if l.config.Bias {
			own.Floats(2 * float64(m))
		}
		own.Operands(columns * float64(n)) // at
		own.OperandsIfRounded(columns * float64(m))
		if factored {
			own.Operands(rows * columns) // low
		} else if !p.Layer.W.Format().Converts(d) { // where products read a copy of W, every layer has that memory in any case
			shared.Operands(area(m, n))
		}
		if viaWeightGrad {
			g = max(g, area(m, n))
		}
		low, sum = max(low, rows*columns), max(sum, float64(m))
	}
	shared.Operands(low + g)
	shared.Floats(sum)
	return own.Bytes, shared.Bytes
}

// strategy is how passes of one head are made by that layer.
func (l *Layout) strategy(p LayerSlot) (factored, viaWeightGrad bool) {
	return chooseStrategy(l.rows(p), p.Layer.W.Rows, p.Layer.W.Cols, p.Rank, l.columns(p))
}

// rows is the number of rows in a pass of one head.
func (l *Layout) rows(p LayerSlot) int { return l.config.Images * p.Layer.RowsPerImage }

// columns is R, the columns of B in products: see Adapter.
func (l *Layout) columns(p LayerSlot) int {
	if l.config.Base == RecomputedBase {
		return 2 * p.Rank
	}
	return p.Rank
}

// Factored says whether passes go through the factors in all layers, as Head.Factored does.
func (l *Layout) Factored() bool {
	for _, p := range l.Layers {
		if factored, _ := l.strategy(p); !factored {
			return false
		}
	}
	return true
}

// FLOPs is what the head adds to its layer's for an image: see chooseStrategy. Without the input's gradient a pass through the
// factors leaves out the product by A that makes it.
func (l *Layout) FLOPs(p LayerSlot, inputGradient bool) float64 {
	m, n, r, columns := float64(p.Layer.W.Rows), float64(p.Layer.W.Cols), float64(p.Rank), float64(l.columns(p))
	rows, images := float64(p.Layer.RowsPerImage), float64(l.config.Images)
	switch factored, viaWeightGrad := l.strategy(p); {
	case factored:
		all := 4*rows*columns*(m+n) + 2*rows*r*(m+n)
		if !inputGradient {
			all -= 2 * rows * columns * n
		}
		return all
	case viaWeightGrad:
		return 2*m*n*columns/images + 2*rows*m*n + 4*m*n*r/images
	default:
		return 2*m*n*columns/images + 4*rows*r*(m+n)
	}
}
