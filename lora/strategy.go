package lora

import "lte/nn"

func area(rows, columns int) float64 { return float64(rows) * float64(columns) }

// chooseStrategy returns the way with the fewest FLOPs for passes of ρ rows by a layer (out, in) = (m, n), a head of rank r, and R
// columns of B in products (see Adapter):
//
//	forming W_k             2·mnR, and the gradients of the factors
//	    by the factors      4·ρr(m+n)
//	    by G = dyᵀx         2·ρmn + 4·mnr
//	through the factors     4·ρR(m+n) beside W's own products, and 2·ρr(m+n) for the gradients
func chooseStrategy(rows, out, in, rank, columns int) (factored, viaWeightGrad bool) {
	rho, elements, sides := float64(rows), area(out, in), float64(out+in)
	r, w := float64(rank), float64(columns)
	byFactors, byWeightGrad := 4*rho*r*sides, 2*rho*elements+4*elements*r
	factored = 4*rho*w*sides+2*rho*r*sides < 2*elements*w+min(byFactors, byWeightGrad)
	return factored, !factored && byWeightGrad < byFactors
}

// strategy is how passes of one head are made by that layer.
func (l *Layout) strategy(p LayerSlot) (factored, viaWeightGrad bool) {
	return chooseStrategy(l.rows(p.Layer), p.Layer.W.Rows, p.Layer.W.Cols, p.Rank, l.columns(p))
}

// rows is the number of the layer's rows in a pass of one head.
func (l *Layout) rows(layer *nn.Linear) int { return l.config.Images * layer.RowsPerImage }

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
