package compute

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// attentionTwin is softmax(QKᵀ/√d)V in float64.
func attentionTwin(qkv []float64, s AttentionShape) []float64 {
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

// The backward pass is held against central differences of the float64 twin.
func TestAttention(t *testing.T) {
	const h = 1e-5
	for name, b := range backends(t) {
		for _, s := range []AttentionShape{{1, 1, 1, 1, 1}, {2, 5, 5, 2, 3}, {1, 17, 17, 2, 16}, {1, 16, 16, 1, 8}, {2, 19, 19, 1, 20}, {2, 18, 1, 2, 16}, {1, 35, 3, 1, 4}} {
			r := rand.New(rand.NewPCG(4, uint64(s.Tokens)))
			n := s.Batch * s.Tokens * s.Heads * s.Dim
			qkv, dout := randoms(r, 3*n), randoms(r, n)
			out, probs, dqkv := make([]float32, n), make([]float32, s.Probs()), make([]float32, 3*n)
			b.Attention(F32(Matrix(1, len(out), out)), probs, F32(Matrix(1, len(qkv), qkv)), s)
			q64 := make([]float64, 3*n)
			for i, v := range qkv {
				q64[i] = float64(v)
			}
			near(t, fmt.Sprint(name, s), out, attentionTwin(q64, s), 2e-6)

			want := make([]float64, 3*n)
			for i, v := range q64 {
				q64[i] = v + h
				up := attentionTwin(q64, s)
				q64[i] = v - h
				down := attentionTwin(q64, s)
				q64[i] = v
				for j := range up {
					want[i] += float64(dout[j]) * (up[j] - down[j]) / (2 * h)
				}
			}
			for i := range dout {
				if i/(s.Heads*s.Dim)%s.Tokens >= s.Queries {
					dout[i] = float32(math.NaN()) // not to be read
				}
			}
			b.AttentionBackward(F32(Matrix(1, len(dqkv), dqkv)), F32(Matrix(1, len(dout), dout)), probs, F32(Matrix(1, len(qkv), qkv)), s)
			near(t, fmt.Sprint(name, s, " backward"), dqkv, want, 1e-5)
		}
	}
}
