package lora

import (
	"lte/compute"
	"lte/nn"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// Base says what a head's effective weight adds s·BA to between merges: W − s·B'A', or W⁰.
type Base int

// The bases.
const (
	CachedBase     Base = iota // a copy for each head, formed at merges
	RecomputedBase             // no copy: W_k is formed of W and both products; for one of several heads of a rank
	MainWeightBase             // W itself: B'A' is always 0, as every merge resets
	OriginBase                 // W⁰, of Layout.SetOrigins, for all heads: each merge gives them all the same factors, with W = W⁰ + s·BA
)

// Origin is what a layer's W and b are formed from: W⁰ (out, in), and b⁰ (out) where heads have biases.
type Origin struct {
	W compute.Weights
	B []float32
}

// Adapter is one layer's part of a head: the factors A (r, in) and B (out, r), and where the head has biases b_A (r)
// and b_B (out); their gradients; and the factors at the last merge. Its slices are views of the head's. It is an nn.Adapter.
type Adapter struct {
	Factors      // that train
	Grad, Merged Factors

	Scale   float32 // s = α/r
	layer   *nn.Linear
	layout  *Layout
	backend compute.Backend

	base baseCopy
	bias []float32 // (out): b_k; nil without biases
	operands
	strategy Strategy
	low      compute.Operand // (rows, R): xAᵀ of the forward pass, where factored
}

// baseCopy is what W_k and b_k add to, of an adapter of CachedBase.
type baseCopy struct {
	weight blas32.General // (out, in)
	bias   []float32      // (out); nil without biases
}

// operands are A and B as products read them. R is r; of RecomputedBase it is 2r, A' behind A and −B' behind B.
type operands struct {
	at, b          compute.Operand // Aᵀ (in, R) and B (out, R)
	stackA, stackB blas32.General  // A (R, in) and B (out, R) in float32
	rounded        compute.Operand // b's memory where products do not read float32
}

// Factors are the matrices and vectors of one layer, views of a head's flat slice.
type Factors struct {
	A, B         blas32.General // (r, in), (out, r)
	BiasA, BiasB []float32      // (r), (out) of every head of a stack; nil without biases
}

// scratch is memory that all adapters of a layout share.
type scratch struct {
	low compute.Operand // (rows, R): xAᵀ, then dy·B
	g   compute.Operand // (out, in): G, of an adapter ViaWeightGrad
	sum []float32       // (out): Σ dy
}

// SetStrategy fixes how passes are made, and allocates what that takes. AllocateHead chooses the one with the fewest FLOPs.
func (a *Adapter) SetStrategy(s Strategy) {
	a.strategy = s
	l := a.layout
	alloc := l.alloc.For(compute.TrainingMemory)
	if !s.Factored || a.from().Format().Converts(alloc.DType()) {
		a.layer.ReserveWeight(alloc)
	}
	if s.ViaWeightGrad {
		alloc.Grow(&l.work.g, a.B.Rows, a.A.Cols)
	}
	a.reserve(l.config.Images * a.layer.RowsPerImage)
}

// reserve makes the buffers large enough for passes of so many rows.
func (a *Adapter) reserve(rows int) {
	alloc := a.layout.alloc.For(compute.TrainingMemory)
	if a.strategy.Factored {
		alloc.Grow(&a.low, rows, a.stackA.Rows)
	}
	alloc.Grow(&a.layout.work.low, rows, a.stackA.Rows)
}

// Base returns the copies of W − s·B'A' (out, in) and of b's part of it (out) that a head of CachedBase keeps, the second only with
// biases; else nil.
func (a *Adapter) Base() (w, b []float32) { return a.base.weight.Data, a.base.bias }

// from returns what W_k adds to.
func (a *Adapter) from() compute.Weights {
	switch a.layout.config.Base {
	case CachedBase:
		return compute.Float32Weights(a.base.weight.Rows, a.base.weight.Cols, a.base.weight.Data)
	case OriginBase:
		if o, ok := a.layout.origins[a.layer]; ok {
			return o.W
		}
	}
	return a.layer.W
}

// AddBias adds to dst what the factors add to the layer's bias: scale·(B·b_A + Σ b_B).
func (f Factors) AddBias(dst []float32, scale float32) {
	if f.BiasA == nil {
		return
	}
	m, r := f.B.Rows, f.B.Cols
	for i := range m {
		sum := float32(0)
		for at := i; at < len(f.BiasB); at += m {
			sum += f.BiasB[at]
		}
		for j, x := range f.BiasA {
			sum += f.B.Data[i*r+j] * x
		}
		dst[i] += scale * sum
	}
}

// Prepare rounds and transposes the factors for products, and returns what W_k adds to.
func (a *Adapter) Prepare() compute.Weights {
	if r := a.A.Rows; a.layout.config.Base == RecomputedBase {
		copy(a.stackA.Data, a.A.Data)
		copy(a.stackA.Data[len(a.A.Data):], a.Merged.A.Data)
		for i := range a.B.Rows {
			row := a.stackB.Data[i*2*r : (i+1)*2*r]
			copy(row, a.B.Data[i*r:(i+1)*r])
			for j, x := range a.Merged.B.Data[i*r : (i+1)*r] {
				row[r+j] = -x
			}
		}
	}
	if !a.layout.config.FreezeA {
		a.backend.Transpose(a.at, a.stackA) // faster to multiply by than A
	}
	a.b = compute.AsOperand(a.backend, a.rounded, a.stackB)
	a.formBias(a.bias)
	return a.from()
}

// formBias computes b_k into dst, with biases only; dst may be b.
func (a *Adapter) formBias(dst []float32) {
	if a.bias == nil {
		return
	}
	from := a.layer.B
	switch a.layout.config.Base {
	case CachedBase:
		from = a.base.bias
	case OriginBase:
		from = a.layout.origins[a.layer].B
	}
	copy(dst, from)
	if a.layout.config.Base == RecomputedBase {
		a.Merged.AddBias(dst, -a.Scale)
	}
	a.AddBias(dst, a.Scale)
}

// FormWeight computes W_k = (W − s·B'A') + s·BA (algorithm.md; the paper's section 3.2), unless passes go through the factors.
func (a *Adapter) FormWeight(dst compute.Operand) bool {
	if a.strategy.Factored {
		return false
	}
	a.from().AddProduct(a.backend, dst, a.Scale, a.stackB, a.stackA)
	return true
}

// Bias returns b_k (out), nil without biases.
func (a *Adapter) Bias() []float32 { return a.bias }

// Forward adds s·(xAᵀ)Bᵀ to y, a head's part of xW_kᵀ, where passes go through the factors.
func (a *Adapter) Forward(y, x compute.Operand) {
	a.reserve(x.Rows) // may be more than those of a training pass
	if !a.strategy.Factored {
		return
	}
	low := a.low.First(x.Rows)
	a.backend.Gemm(blas.NoTrans, blas.NoTrans, 1, x, a.at, 0, low)
	a.backend.Gemm(blas.NoTrans, blas.Trans, a.Scale, low, a.b, 1, y)
}

// Backward adds the factors' gradients, and where factored also dx += s·(dy·B)A. With W_k = … + s·BA and G = dyᵀx:
// ∂L/∂B = s·G·Aᵀ = s·dyᵀ(xAᵀ) and ∂L/∂A = s·Bᵀ·G = s·(dy·B)ᵀx.
func (a *Adapter) Backward(dx, dy, x compute.Operand, beta float32) {
	be, work, r := a.backend, &a.layout.work, a.A.Rows
	at, b := a.at.Columns(r), a.b.Columns(r)
	gradA, gradB, trainsA := compute.F32(a.Grad.A), compute.F32(a.Grad.B), !a.layout.config.FreezeA
	switch {
	case a.strategy.ViaWeightGrad:
		g := work.g.Shape(a.B.Rows, a.A.Cols)
		be.Gemm(blas.Trans, blas.NoTrans, 1, dy, x, 0, g)
		be.Gemm(blas.NoTrans, blas.NoTrans, a.Scale, g, at, beta, gradB)
		if trainsA {
			be.Gemm(blas.Trans, blas.NoTrans, a.Scale, b, g, beta, gradA)
		}
	case a.strategy.Factored:
		be.Gemm(blas.Trans, blas.NoTrans, a.Scale, dy, a.low.First(x.Rows).Columns(r), beta, gradB)
		if !trainsA && dx.Rows == 0 {
			break
		}
		low := work.low.Shape(x.Rows, a.b.Cols)
		be.Gemm(blas.NoTrans, blas.NoTrans, 1, dy, a.b, 0, low)
		if trainsA {
			be.Gemm(blas.Trans, blas.NoTrans, a.Scale, low.Columns(r), x, beta, gradA)
		}
		if dx.Rows > 0 {
			be.Gemm(blas.NoTrans, blas.Trans, a.Scale, low, a.at, 1, dx)
		}
	default:
		low := work.low.Shape(x.Rows, r)
		be.Gemm(blas.NoTrans, blas.NoTrans, 1, x, at, 0, low)
		be.Gemm(blas.Trans, blas.NoTrans, a.Scale, dy, low, beta, gradB)
		if trainsA {
			be.Gemm(blas.NoTrans, blas.NoTrans, 1, dy, b, 0, low)
			be.Gemm(blas.Trans, blas.NoTrans, a.Scale, low, x, beta, gradA)
		}
	}
	if a.bias != nil {
		a.backwardBias(dy, beta)
	}
}

// backwardBias adds the gradients of b_k = … + s·(B·b_A + b_B), with g = Σ dy: ∂L/∂b_B = s·g, ∂L/∂b_A = s·Bᵀg, and s·g·b_Aᵀ to ∂L/∂B.
func (a *Adapter) backwardBias(dy compute.Operand, beta float32) {
	r, g := a.A.Rows, a.layout.work.sum[:a.B.Rows]
	clear(g)
	a.backend.SumRows(g, dy)
	if beta == 0 {
		clear(a.Grad.BiasA)
		clear(a.Grad.BiasB)
	}
	for i, v := range g {
		v *= a.Scale
		for at := i; at < len(a.Grad.BiasB); at += len(g) {
			a.Grad.BiasB[at] += v
		}
		b, gradB := a.B.Data[i*r:(i+1)*r], a.Grad.B.Data[i*r:(i+1)*r]
		for j := range r {
			a.Grad.BiasA[j] += v * b[j]
			gradB[j] += v * a.BiasA[j]
		}
	}
}
