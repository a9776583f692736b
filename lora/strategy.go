package lora

// Strategy is how passes are made. The zero Strategy forms W_k, and the factors' gradients by the factors.
type Strategy struct {
	Factored      bool // through the factors, without forming W_k
	ViaWeightGrad bool // the factors' gradients by G = dyᵀx
}

// costs are the FLOPs of a pass of ρ rows by a layer (out, in) = (m, n) and a head of rank r, with R columns of B in products (see
// Adapter), beside the layer's own products:
//
//	factored        4·ρR(m+n) + 2·ρr(m+n)   through the factors, and their gradients
//	viaFactors      2·mnR + 4·ρr(m+n)       forming W_k, and the gradients of the factors by the factors
//	viaWeightGrad   2·mnR + 2·ρmn + 4·mnr   forming W_k, and the gradients by G = dyᵀx
//
// A factored pass without the input's gradient saves 2·ρRn, the product by A that makes it.
func (l *Layout) costs(p LayerSlot) (factored, viaFactors, viaWeightGrad, saved float64) {
	m, n, r, rows := float64(p.Layer.W.Rows), float64(p.Layer.W.Cols), float64(p.Rank), float64(l.config.Images*p.Layer.RowsPerImage)
	columns := r
	if l.config.Base == RecomputedBase {
		columns = 2 * r
	}
	formed, sides := 2*m*n*columns, rows*(m+n)
	return 4*columns*sides + 2*r*sides, formed + 4*r*sides, formed + 2*rows*m*n + 4*m*n*r, 2 * rows * columns * n
}

// strategy is how passes are made by that layer: the way with the fewest FLOPs.
func (l *Layout) strategy(p LayerSlot) Strategy {
	byFactors, viaFactors, viaG, _ := l.costs(p)
	factored := byFactors < min(viaFactors, viaG)
	return Strategy{Factored: factored, ViaWeightGrad: !factored && viaG < viaFactors}
}

// FLOPs is what the head adds to its layer's for an image.
func (l *Layout) FLOPs(p LayerSlot, inputGradient bool) float64 {
	byFactors, viaFactors, viaG, saved := l.costs(p)
	flops := min(byFactors, viaFactors, viaG)
	if l.strategy(p).Factored && !inputGradient {
		flops -= saved
	}
	return flops / float64(l.config.Images)
}
