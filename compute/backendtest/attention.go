package backendtest

import (
	"math"
	"math/rand/v2"
	"sync"

	"lte/compute"

	"gonum.org/v1/gonum/blas/blas32"
)

// attentionCase holds inputs of one shape, and what the twin makes of them.
type attentionCase struct {
	shape            compute.AttentionShape
	qkv, dout        []float32
	wantOut, wantDQK []float64
}

// attentionCases are made once in each precision: the differences take longer than all back ends.
var attentionCases = map[compute.DType]func() []attentionCase{
	compute.Float32:  sync.OnceValue(func() []attentionCase { return makeAttentionCases(func(x float32) float32 { return x }) }),
	compute.BFloat16: sync.OnceValue(func() []attentionCase { return makeAttentionCases(nearest) }),
}

func makeAttentionCases(held func(float32) float32) (all []attentionCase) {
	const h = 1e-5
	for _, s := range []compute.AttentionShape{{Batch: 1, Tokens: 1, Queries: 1, Heads: 1, Dim: 1},
		{Batch: 2, Tokens: 5, Queries: 5, Heads: 2, Dim: 3}, {Batch: 1, Tokens: 17, Queries: 17, Heads: 2, Dim: 16}, {Batch: 1, Tokens: 16, Queries: 16, Heads: 1, Dim: 8},
		{Batch: 2, Tokens: 19, Queries: 19, Heads: 1, Dim: 20}, {Batch: 2, Tokens: 18, Queries: 1, Heads: 2, Dim: 16},
		{Batch: 1, Tokens: 35, Queries: 3, Heads: 1, Dim: 4}, {Batch: 0, Tokens: 3, Queries: 3, Heads: 2, Dim: 4}} {
		r, n := rand.New(rand.NewPCG(4, uint64(s.Tokens))), s.Len()
		c := attentionCase{shape: s, wantDQK: make([]float64, 3*n)}
		for range 3 * n {
			c.qkv = append(c.qkv, held(float32(r.NormFloat64())))
		}
		for range n {
			c.dout = append(c.dout, held(float32(r.NormFloat64())))
		}
		x := float64s(c.qkv)
		c.wantOut = attentionTwin(x, s)
		for i, v := range x {
			x[i] = v + h
			up := attentionTwin(x, s)
			x[i] = v - h
			down := attentionTwin(x, s)
			x[i] = v
			for j := range up {
				c.wantDQK[i] += float64(c.dout[j]) * (up[j] - down[j]) / (2 * h)
			}
		}
		for i := range c.dout {
			if i/(s.Heads*s.Dim)%s.Tokens >= s.Queries {
				c.dout[i] = float32(math.NaN()) // not read
			}
		}
		all = append(all, c)
	}
	return all
}

// attentionTwin is softmax(QKᵀ/√d)V in float64.
func attentionTwin(qkv []float64, s compute.AttentionShape) []float64 {
	w := s.Heads * s.Dim
	out := make([]float64, s.Batch*s.Tokens*w)
	at := func(b, i, which, h, c int) float64 { return qkv[((b*s.Tokens+i)*3+which)*w+h*s.Dim+c] }
	for b := range s.Batch {
		for h := range s.Heads {
			for i := range s.Queries {
				p, sum := make([]float64, s.Tokens), 0.0
				for j := range p {
					for c := range s.Dim {
						p[j] += at(b, i, 0, h, c) * at(b, j, 1, h, c)
					}
					p[j] = math.Exp(p[j] / math.Sqrt(float64(s.Dim)))
					sum += p[j]
				}
				for c := range s.Dim {
					for j := range p {
						out[(b*s.Tokens+i)*w+h*s.Dim+c] += p[j] / sum * at(b, j, 2, h, c)
					}
				}
			}
		}
	}
	return out
}

// The backward pass is compared with central differences of the float64 twin.
func attention(s suite) {
	for _, c := range attentionCases[s.b.DType()]() {
		n, d := c.shape.Len(), s.b.DType()
		qkv, dqkv, probs := s.operand(1, 3*n, c.qkv), unset(d, 1, 3*n), unset(compute.Float32, 1, c.shape.Probs()).F32
		out := compute.NewOperand(d, 1, n) // what is not written stays 0, as in the twin
		s.b.Attention(out, probs, qkv, c.shape)
		s.near(sprint(c.shape), out, c.wantOut, 2e-6)
		s.b.AttentionBackward(dqkv, s.operand(1, n, c.dout), probs, qkv, c.shape)
		s.near(sprint(c.shape, "backward"), dqkv, c.wantDQK, 1e-5)
	}
}

// matrixOf is a float32 operand as gonum's matrix.
func matrixOf(o compute.Operand) blas32.General {
	return blas32.General{Rows: o.Rows, Cols: o.Cols, Stride: o.Stride, Data: o.F32}
}
