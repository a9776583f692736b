package model

import (
	"fmt"
	"math"
	"math/rand/v2"

	"lte/compute"

	"gonum.org/v1/gonum/blas/blas32"
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/lapack/lapack64"
)

// HeadConfig says how heads are made.
type HeadConfig struct {
	Rank   int
	Alpha  float64
	Init   string // of A: "orthogonal" or "kaiming"
	Bias   bool   // A and B have biases
	Stack  int    // heads in one: their A's above one another, their B's beside one another (mhlora); 0: 1
	Base   Base
	Images int // of a pass of one head; 0: the model's largest batch
	// Rule returns what differs for the layer of that name: rank and alpha where they are not 0, and whether the layer
	// is left out. nil: nothing.
	Rule func(layer string) (rank int, alpha float64, skip bool)
}

// Layout is where the factors of each layer lie in a head's flat slices: A, B, b_A, b_B, layer after layer.
type Layout struct {
	Layers []Place // of the layers that carry the head, input to output
	Length int
	config HeadConfig
	work   *lowRankWork
	model  *Model
}

// Place is one layer's part of a Layout.
type Place struct {
	Layer              *Linear
	Rank               int     // columns of B: r, times HeadConfig.Stack
	Scale              float32 // s = α/r
	A, B, BiasA, BiasB int     // offsets; without biases the last two are the end
	End                int
}

// Factors cuts a layer's factors out of a flat slice.
func (p Place) Factors(flat []float32) Factors {
	m, n := p.Layer.W.Rows, p.Layer.W.Cols
	f := Factors{A: compute.Matrix(p.Rank, n, flat[p.A:p.B]), B: compute.Matrix(m, p.Rank, flat[p.B:p.BiasA])}
	if p.End > p.BiasA {
		f.BiasA, f.BiasB = flat[p.BiasA:p.BiasB], flat[p.BiasB:p.End]
	}
	return f
}

// Layout lays out heads of that kind over the model's linear layers.
//
// The rank of a layer of which the images or the classes set a side (patch embedding, classifier, token mixing) is at
// most its short side: more could reach no other matrix and only cost bytes. For the other layers a rank beyond the
// short side is an error.
func (m *Model) Layout(c HeadConfig) (*Layout, error) {
	c.Stack = max(1, c.Stack)
	if c.Images == 0 {
		c.Images = m.config.Batch
	}
	if c.Rule == nil {
		c.Rule = func(string) (int, float64, bool) { return 0, 0, false }
	}
	if c.Init != "kaiming" && c.Init != "orthogonal" {
		return nil, fmt.Errorf("unknown initialisation %q of the factor A: expected orthogonal or kaiming", c.Init)
	}
	const most = 1 << 60 // values of a head
	values := 0.0
	l := &Layout{config: c, work: &lowRankWork{}, model: m}
	for _, layer := range m.layers {
		rank, alpha, skip := c.Rule(layer.Name)
		if skip {
			continue
		}
		key := "the rank of its rule in lora.layers"
		if rank == 0 {
			rank, key = c.Rank, "lora.rank"
		}
		if alpha == 0 {
			alpha = c.Alpha
		}
		out, in := layer.W.Rows, layer.W.Cols
		short := min(out, in)
		if rank > short && !layer.outer {
			return nil, fmt.Errorf("lora rank %d is larger than layer %q (%d×%d) allows: set %s to at most %d",
				rank, layer.Name, out, in, key, m.shortest(short))
		}
		if values += float64(c.Stack) * (float64(min(rank, short)+1)*float64(out+in) + 1); values > most {
			return nil, fmt.Errorf("%d heads of lora.rank %d are more values than any memory holds: lower lora.heads or lora.rank", c.Stack, rank)
		}
		p := Place{Layer: layer, Rank: c.Stack * min(rank, short), Scale: float32(alpha / float64(rank)), A: l.Length}
		p.B = p.A + p.Rank*in
		p.BiasA = p.B + p.Rank*out
		p.BiasB, p.End = p.BiasA, p.BiasA
		if c.Bias {
			p.BiasB = p.BiasA + p.Rank
			p.End = p.BiasB + c.Stack*out // as many b_B as heads, which add up
		}
		l.Layers, l.Length = append(l.Layers, p), p.End
	}
	if len(l.Layers) == 0 {
		return nil, fmt.Errorf("no layer carries a head: lora.layers or replicas.train leave all of them out")
	}
	return l, nil
}

// Base is that of the layout's heads.
func (l *Layout) Base() Base { return l.config.Base }

// shortest is the largest rank that every layer of the model's own sides allows.
func (m *Model) shortest(short int) int {
	for _, l := range m.layers {
		if !l.outer {
			short = min(short, l.W.Rows, l.W.Cols)
		}
	}
	return short
}

// Head is a LoRA head of the whole model: the factors of all its layers in one flat slice, as Layout says. The slice is
// what the optimizer moves and what a merge sends, as it lies.
type Head struct {
	Value  []float32 // A₁, B₁, A₂, B₂, …
	Grad   []float32
	Merged []float32 // A', B': Value at the last merge; B' = 0 before the first

	layout   *Layout
	adapters map[*Linear]*Adapter
}

// NewHead makes a head with B = 0 and A drawn from rngs, layer after layer, one for each head of a stack. Its factors
// are value's memory, of the layout's length.
func (l *Layout) NewHead(value []float32, rngs ...*rand.Rand) *Head {
	m, d := l.model, l.model.backend.DType()
	h := &Head{Value: value, Grad: make([]float32, l.Length), Merged: make([]float32, l.Length), layout: l,
		adapters: map[*Linear]*Adapter{}}
	clear(value)
	for _, p := range l.Layers {
		layer := p.Layer
		out, in := layer.W.Rows, layer.W.Cols
		a := &Adapter{Factors: p.Factors(h.Value), Grad: p.Factors(h.Grad), Merged: p.Factors(h.Merged), scale: p.Scale, layer: layer,
			kind: l.config.Base, work: l.work, backend: compute.CountAs(m.backend, compute.LoRA)}
		a.stackA, a.stackB = a.A, a.B
		switch a.kind {
		case OwnBase:
			a.base = compute.NewMatrix(out, in)
		case FormedBase:
			a.stackA, a.stackB = compute.NewMatrix(2*p.Rank, in), compute.NewMatrix(out, 2*p.Rank)
		}
		if l.config.Bias {
			a.baseB, a.bias = make([]float32, out), make([]float32, out)
		}
		wide := a.stackA.Rows
		a.at = compute.NewOperand(d, in, wide)
		if d != compute.Float32 {
			a.bRound = compute.NewOperand(d, out, wide)
		}
		if a.count(l.config.Images * layer.perImage); !a.thin && layer.own.Rows == 0 {
			layer.own = compute.NewOperand(d, out, in)
		}
		h.adapters[layer] = a
	}
	l.DrawA(h.Value, rngs...)
	copy(h.Merged, h.Value)
	h.Rebase()
	return h
}

// DrawA draws every A of a head's flat slice, from as many streams as the head is a stack of, and makes b_A 0.
func (l *Layout) DrawA(flat []float32, rngs ...*rand.Rand) {
	if len(rngs) != l.config.Stack {
		panic("model: a head of another number of random streams")
	}
	for _, p := range l.Layers {
		f := p.Factors(flat)
		r, n := p.Rank/len(rngs), p.Layer.W.Cols
		for k, rng := range rngs {
			initA(compute.Matrix(r, n, f.A.Data[k*r*n:(k+1)*r*n]), l.config.Init, rng)
		}
		clear(f.BiasA)
	}
}

// ResetB makes B and b_B of a head's flat slice 0, and so its update.
func (l *Layout) ResetB(flat []float32) {
	for _, p := range l.Layers {
		f := p.Factors(flat)
		clear(f.B.Data)
		clear(f.BiasB)
	}
}

// Rebase is called when W, b, A' or B' have changed: it forms what the effective weights add to.
func (h *Head) Rebase() {
	for _, a := range h.adapters {
		a.rebase()
	}
}

// Fold makes W what the head computes with, of OwnBase or MainBase: W = W⁰ + s·BA, where W⁰ is its base, and b likewise.
func (h *Head) Fold() {
	for _, a := range h.adapters {
		l := a.layer
		a.backend.AddProduct(compute.F32(l.W), a.from(), a.scale, a.B, a.A)
		if a.bias != nil {
			if a.kind == OwnBase {
				copy(l.B, a.baseB)
			}
			a.AddBias(l.B, a.scale)
		}
	}
}

// Adapter returns the layer's share of the head, or nil.
func (h *Head) Adapter(l *Linear) *Adapter { return h.adapters[l] }

// Thin says whether passes go through the factors in all layers: then several heads can share the products with W.
func (h *Head) Thin() bool {
	for _, a := range h.adapters {
		if !a.thin {
			return false
		}
	}
	return true
}

// UseLocal makes passes compute with the effective weights of a head, or of several, all Thin and of FormedBase, each
// for an equal share of the images. It is called again when factors have changed.
func (m *Model) UseLocal(heads ...*Head) {
	for i, l := range m.layers {
		m.using[i] = m.using[i][:0]
		for _, h := range heads {
			if a := h.adapters[l]; a != nil {
				m.using[i] = append(m.using[i], a)
			}
		}
		l.use(m.using[i])
	}
}

// initA draws A (r, n). "orthogonal": semi-orthogonal times √(n/r), so that every entry is about as large as a
// standard normal over √r (the authors' code); "kaiming": uniform with a = √5, U(±1/√n).
func initA(a blas32.General, how string, rng *rand.Rand) {
	r, n := a.Rows, a.Cols
	switch how {
	case "kaiming":
		uniform(a.Data, 1/math.Sqrt(float64(n)), rng)
	case "orthogonal":
		orthogonal(a, math.Sqrt(float64(n)/float64(r)), rng)
	}
}

// orthogonal fills a with a random semi-orthogonal matrix times gain: the Q of a tall normal matrix, its signs fixed
// by R's diagonal so that the distribution is Haar's (Mezzadri 2007), transposed where a is wide.
func orthogonal(a blas32.General, gain float64, rng *rand.Rand) {
	rows, cols := max(a.Rows, a.Cols), min(a.Rows, a.Cols)
	q := blas64.General{Rows: rows, Cols: cols, Stride: cols, Data: make([]float64, rows*cols)}
	for i := range q.Data {
		q.Data[i] = rng.NormFloat64()
	}
	tau := make([]float64, cols)
	work := make([]float64, 1)
	lapack64.Geqrf(q, tau, work, -1)
	work = make([]float64, int(work[0]))
	lapack64.Geqrf(q, tau, work, len(work))
	sign := make([]float64, cols)
	for j := range sign {
		sign[j] = math.Copysign(gain, q.Data[j*cols+j])
	}
	lapack64.Orgqr(q, tau, work, len(work))
	for i := range a.Rows {
		for j := range a.Cols {
			if a.Rows >= a.Cols {
				a.Data[i*a.Cols+j] = float32(sign[j] * q.Data[i*cols+j])
			} else {
				a.Data[i*a.Cols+j] = float32(sign[i] * q.Data[j*cols+i])
			}
		}
	}
}
