package train

import (
	"math"

	"lte/checkpoint"
	"lte/compute"
	"lte/config"
	"lte/model"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// muon is Muon (Jordan, "Muon: an optimizer for hidden layers in neural networks", 2024) with the scale of Liu et al., arXiv 2502.16982,
// by which the learning rates of AdamW carry over. For a matrix W (m, n) with gradient G:
//
//	M ← μM + G;  U = G + μM;  W ← W − ηλW − 0.2·η·√max(m, n)·orth(U)
//
// where orth(U) ≈ U(UᵀU)^(−1/2) is the nearest semi-orthogonal matrix. What is not a hidden layer's matrix, vectors, tokens and the classifier, is left to AdamW.
type muon struct {
	config   config.Optimizer
	backend  compute.Backend
	p        parameters
	momentum []float32 // M of all matrices, one after another
	adamW    *adamW    // of the rest
	rate     float64   // AdamW's learning rate relative to Muon's
	scratch  []float32
}

// muonScale makes the root mean square of an update that of AdamW's, about 0.2 (Liu et al., section 2.2).
const muonScale = 0.2

func newMuon(c config.Optimizer, be compute.Backend, alloc compute.Allocator, p parameters) *muon {
	o := &muon{config: c, backend: be, p: parameters{value: p.value, grad: p.grad}, rate: c.AdamWLR / c.LR}
	rest := parameters{value: p.value, grad: p.grad}
	moments, side := 0, 0
	for _, s := range p.spans {
		if s.columns == 0 {
			rest.spans = append(rest.spans, s)
			continue
		}
		o.p.spans = append(o.p.spans, s)
		moments, side = moments+s.length(), max(side, min(s.rows(), s.columns))
	}
	o.momentum, o.scratch = alloc.Floats(moments), alloc.Floats(4, side, side)
	o.adamW = newAdamW(c, be, alloc, rest)
	return o
}

func (o *muon) step(lr, clip float64) {
	o.adamW.step(lr*o.rate, clip)
	momentum := o.momentum
	for _, s := range o.p.spans {
		n := s.length()
		value, u := vector(o.p.value[s.from:s.to]), o.p.grad[s.from:s.to]
		o.backend.Nesterov(momentum[:n], u, o.config.Muon, clip)
		momentum = momentum[n:]
		if s.elsewhere {
			continue
		}
		if s.decay {
			blas32.Scal(float32(1-lr*o.config.WeightDecay), value)
		}
		matrix := compute.Matrix(s.rows(), s.columns, u)
		factor, ok := o.orthogonalize(matrix)
		if !ok {
			continue
		}
		// The scale is the factor's, not the product's: back ends prepare a product for every scale that they meet.
		blas32.Scal(float32(-muonScale*lr*math.Sqrt(float64(max(s.rows(), s.columns)))), vector(factor.Data))
		dst, x, f := compute.F32(compute.Matrix(s.rows(), s.columns, value.Data)), compute.F32(matrix), compute.F32(factor)
		if s.rows() >= s.columns {
			o.backend.Gemm(blas.NoTrans, blas.NoTrans, 1, x, f, 1, dst)
		} else {
			o.backend.Gemm(blas.NoTrans, blas.NoTrans, 1, f, x, 1, dst)
		}
	}
}

// muonFLOPs is the work of a step on a matrix: two products with its shorter side, and 17 of squares of that side.
func (s span) muonFLOPs() float64 {
	side := float64(min(s.rows(), s.columns))
	return 4*float64(s.length())*side + 34*side*side*side
}

// The polynomial that a Newton–Schulz step applies to singular values, x ← ax + bx³ + cx⁵, and the number of steps (Jordan 2024). It takes singular
// values of 0.003 and more of the largest to between about 0.7 and 1.2.
const (
	schulzA, schulzB, schulzC = 3.4445, -4.7750, 2.0315
	schulzSteps               = 5
)

// orthogonalize returns the square factor P of its shorter side for which orth(u) ≈ uP if m ≥ n, else Pu;
// ok is false where u is 0. P is scratch.
//
// A Newton–Schulz step X ← X(aI + bS + cS²), S = XᵀX, multiplies X by a polynomial in S, so all steps together need no more than the Gram
// matrix S of u/‖u‖, in the shorter side:
//
//	P ← P·Q;  S ← S·Q²,  Q = aI + bS + cS²;  at the end P/‖u‖
func (o *muon) orthogonalize(u blas32.General) (factor blas32.General, ok bool) {
	norm := math.Sqrt(o.backend.SumSquares(u.Data))
	if norm < 1e-30 { // its inverse is no float32, or it is 0
		return factor, false
	}
	if norm < 1e-15 || norm > 1e15 { // its square is no float32
		blas32.Scal(float32(1/norm), vector(u.Data))
		norm = 1
	}
	side := min(u.Rows, u.Cols)
	square := func(i int) blas32.General {
		return compute.Matrix(side, side, o.scratch[i*side*side:(i+1)*side*side])
	}
	gram, q, p, spare := square(0), square(1), square(2), square(3)
	if x := compute.F32(u); u.Rows >= u.Cols {
		o.backend.Gemm(blas.Trans, blas.NoTrans, 1, x, x, 0, compute.F32(gram))
	} else {
		o.backend.Gemm(blas.NoTrans, blas.Trans, 1, x, x, 0, compute.F32(gram))
	}
	blas32.Scal(float32(1/(norm*norm)), vector(gram.Data))
	multiply := func(alpha float32, a, b, dst blas32.General) {
		o.backend.Gemm(blas.NoTrans, blas.NoTrans, alpha, compute.F32(a), compute.F32(b), 0, compute.F32(dst))
	}
	for i := range schulzSteps {
		multiply(schulzC, gram, gram, q)
		blas32.Axpy(schulzB, vector(gram.Data), vector(q.Data))
		for j := range side {
			q.Data[j*side+j] += schulzA
		}
		if i == 0 {
			copy(p.Data, q.Data)
		} else {
			multiply(1, p, q, spare)
			p, spare = spare, p
		}
		if i < schulzSteps-1 {
			multiply(1, gram, q, spare)
			multiply(1, spare, q, gram)
		}
	}
	blas32.Scal(float32(1/norm), vector(p.Data))
	return p, true
}

func (o *muon) clear() int { return clearValues(o.momentum) + o.adamW.clear() }

func (o *muon) state(t *checkpoint.Tensors, name string) {
	t.Floats(name+".momentum", o.momentum)
	o.adamW.state(t, name)
}

// hiddenColumns is the columns of a hidden layer's matrix, in (out, in), 0 of other parameters.
func hiddenColumns(m *model.Model, p model.Parameter) int {
	if classifier := m.Classifier(); !p.Decay || p.Name == classifier.Name+".weight" {
		return 0
	}
	return p.Value.Cols
}

func vector(x []float32) blas32.Vector { return blas32.Vector{N: len(x), Inc: 1, Data: x} }
