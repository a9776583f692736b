package lora

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"

	"lte/compute"
	"lte/nn"

	"gonum.org/v1/gonum/blas/blas32"
)

// Config says how heads are made.
type Config struct {
	Rank  int
	Alpha float64
	Init  string // of A: "orthogonal" or "kaiming"
	Bias  bool   // A and B have biases
	// All heads have the A that DrawBasis draws, which does not train and is no part of their flat slices. They have no biases, and not
	// RecomputedBase.
	FreezeA bool
	Stack   int // heads in one: their A's stacked by rows, their B's by columns (mhlora); 0: 1
	Base    Base
	Images  int // of a pass of one head
	// Rule returns what differs for the layer of that name: rank and alpha where they are not 0, and whether the layer
	// is left out. nil: nothing.
	Rule func(layer string) (rank int, alpha float64, skip bool)
}

// Layout is where the factors of each layer lie in a head's flat slices: A, B, b_A, b_B, layer after layer.
type Layout struct {
	Layers  []LayerSlot // of the layers that carry the head, input to output
	Length  int
	config  Config
	origins map[*nn.Linear]Origin // of OriginBase
	work    scratch
	backend compute.Backend
	alloc   compute.Allocator
}

// LayerSlot is one layer's part of a Layout.
type LayerSlot struct {
	Layer              *nn.Linear
	Rank               int     // columns of B: r, times Config.Stack
	Scale              float32 // s = α/r
	A, B, BiasA, BiasB int     // offsets; without biases the last two are the end
	End                int
	basis              basis // with Config.FreezeA
}

// basis is the A of all heads, and Aᵀ as products read it.
type basis struct {
	a  blas32.General  // (r, in)
	at compute.Operand // (in, r)
}

// Factors cuts a layer's factors out of a flat slice.
func (p LayerSlot) Factors(flat []float32) Factors {
	m, n := p.Layer.W.Rows, p.Layer.W.Cols
	f := Factors{A: p.basis.a, B: compute.Matrix(m, p.Rank, compute.Slice(flat, p.B, p.BiasA))}
	if p.B > p.A {
		f.A = compute.Matrix(p.Rank, n, compute.Slice(flat, p.A, p.B))
	}
	if p.End > p.BiasA {
		f.BiasA, f.BiasB = compute.Slice(flat, p.BiasA, p.BiasB), compute.Slice(flat, p.BiasB, p.End)
	}
	return f
}

// NewLayout lays out heads of that kind over a model's linear layers, input to output.
//
// The rank of a layer of which the images or the classes set a side (patch embedding, classifier, token mixing) is at most its short
// side: more could reach no other matrix and only cost bytes. For the other layers a rank beyond the short side is an error.
func NewLayout(layers []*nn.Linear, backend compute.Backend, alloc compute.Allocator, c Config) (*Layout, error) {
	c.Stack = max(1, c.Stack)
	if c.Rule == nil {
		c.Rule = func(string) (int, float64, bool) { return 0, 0, false }
	}
	if c.Init != "kaiming" && c.Init != "orthogonal" {
		return nil, fmt.Errorf("unknown initialisation %q of the factor A: expected orthogonal or kaiming", c.Init)
	}
	const most = 1 << 60 // values of a head
	values, longest := 0.0, 0
	l := &Layout{config: c, backend: backend, alloc: alloc}
	for _, layer := range layers {
		rank, alpha, skip := c.Rule(layer.Name)
		if skip {
			continue
		}
		key := "the rank of its rule in lora.layers"
		if rank == 0 {
			rank, key = c.Rank, "lora.rank"
		}
		out, in := layer.W.Rows, layer.W.Cols
		short := min(out, in)
		if rank > short && !layer.DataSized {
			return nil, fmt.Errorf("lora rank %d is larger than layer %q (%d×%d) allows: set %s to at most %d",
				rank, layer.Name, out, in, key, shortest(layers, short))
		}
		if values += float64(c.Stack) * (float64(min(rank, short)+1)*float64(out+in) + 1); values > most {
			return nil, fmt.Errorf("%d heads of lora.rank %d are more values than any memory holds: lower lora.heads or lora.rank", c.Stack, rank)
		}
		p := LayerSlot{Layer: layer, Rank: c.Stack * min(rank, short), Scale: float32(cmp.Or(alpha, c.Alpha) / float64(rank)), A: l.Length}
		p.B = p.A
		if c.FreezeA {
			alloc := alloc.For(compute.TrainingMemory)
			p.basis = basis{alloc.Matrix(p.Rank, in), alloc.Operand(in, p.Rank)}
		} else {
			p.B += p.Rank * in
		}
		p.BiasA = p.B + p.Rank*out
		p.BiasB, p.End = p.BiasA, p.BiasA
		if c.Bias {
			p.BiasB = p.BiasA + p.Rank
			p.End = p.BiasB + c.Stack*out // a b_B for each head of the stack
		}
		l.Layers, l.Length, longest = append(l.Layers, p), p.End, max(longest, out)
	}
	if len(l.Layers) == 0 {
		return nil, fmt.Errorf("no layer carries a head: lora.layers or replicas.train leave all of them out")
	}
	l.work.sum = alloc.For(compute.TrainingMemory).Floats(longest)
	return l, nil
}

// Base is that of the layout's heads.
func (l *Layout) Base() Base { return l.config.Base }

// SetOrigins says what heads of OriginBase add to, one for each of Layers.
func (l *Layout) SetOrigins(origins []Origin) {
	l.origins = map[*nn.Linear]Origin{}
	for i, p := range l.Layers {
		l.origins[p.Layer] = origins[i]
	}
}

// shortest is the largest rank that every layer whose sides the configuration sets allows.
func shortest(layers []*nn.Linear, short int) int {
	for _, l := range layers {
		if !l.DataSized {
			short = min(short, l.W.Rows, l.W.Cols)
		}
	}
	return short
}

// DrawA draws every A of a head's flat slice, if it is part of it, from one stream for each head of a stack, and sets b_A to 0.
func (l *Layout) DrawA(flat []float32, rngs ...*rand.Rand) {
	if len(rngs) != l.config.Stack {
		panic("lora: a head of another number of random streams")
	}
	if l.config.FreezeA {
		return
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

// DrawBasis draws the A of all heads, layer after layer.
func (l *Layout) DrawBasis(rng *rand.Rand) {
	for _, p := range l.Layers {
		initA(p.basis.a, l.config.Init, rng)
		l.backend.Transpose(p.basis.at, p.basis.a)
	}
}

// ResetB sets B and b_B of a head's flat slice to 0, and so its update.
func (l *Layout) ResetB(flat []float32) {
	for _, p := range l.Layers {
		f := p.Factors(flat)
		clear(f.B.Data)
		clear(f.BiasB)
	}
}

// initA draws A (r, n). "orthogonal": semi-orthogonal times √(n/r), so that every entry is about as large as a
// standard normal over √r (the authors' code); "kaiming": uniform with a = √5, U(±1/√n).
func initA(a blas32.General, how string, rng *rand.Rand) {
	r, n := a.Rows, a.Cols
	switch how {
	case "kaiming":
		nn.Uniform(a.Data, 1/math.Sqrt(float64(n)), rng)
	case "orthogonal":
		nn.Orthogonal(a, math.Sqrt(float64(n)/float64(r)), rng)
	}
}
