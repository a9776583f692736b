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

// Head is a LoRA head of the whole model: the factors of all its layers in one flat slice, layer after layer, A before
// B. The slice is what the optimizer moves and what a merge sends, as it lies.
type Head struct {
	Value  []float32 // A₁, B₁, A₂, B₂, …
	Grad   []float32
	Merged []float32 // A', B': Value at the last merge; B' = 0 before the first
	Scale  float32   // s = α/r
}

// HeadConfig says how a head is made.
type HeadConfig struct {
	Rank  int
	Alpha float64
	Init  string // "orthogonal" or "kaiming"
}

// AttachHead gives every linear layer an adapter of a new head with B = 0 and A drawn from rng, layer after layer.
//
// The rank of the patch embedding and of the classifier, whose short side the data sets, is at most that side: more
// could reach no other matrix and only cost bytes. For the other layers a rank beyond the short side is an error.
func (v *ViT) AttachHead(c HeadConfig, rng *rand.Rand) (*Head, error) {
	if err := v.checkRank(c.Rank); err != nil {
		return nil, err
	}
	total := 0
	for _, l := range v.layers {
		total += l.rank(c.Rank) * (l.W.Rows + l.W.Cols)
	}
	h := &Head{Value: make([]float32, total), Grad: make([]float32, total), Merged: make([]float32, total),
		Scale: float32(c.Alpha / float64(c.Rank))}
	at, work, d := 0, &lowRankWork{}, v.backend.DType()
	for _, l := range v.layers {
		m, n, r := l.W.Rows, l.W.Cols, l.rank(c.Rank)
		view := func(flat []float32) (a, b blas32.General) {
			return compute.Matrix(r, n, flat[at:at+r*n]), compute.Matrix(m, r, flat[at+r*n:at+r*(m+n)])
		}
		a := &Adapter{scale: h.Scale, base: compute.NewMatrix(m, n), work: work, backend: compute.CountAs(v.backend, compute.LoRA)}
		a.A, a.B = view(h.Value)
		a.GradA, a.GradB = view(h.Grad)
		a.MergedA, a.MergedB = view(h.Merged)
		if err := initA(a.A, c.Init, rng); err != nil {
			return nil, err
		}
		at += r * (m + n)
		l.adapter = a
		rows := l.maxRows(v)
		a.dense = 2*rows*m*n+4*r*m*n < 4*rows*r*(m+n)
		work.reserve(a, rows)
		l.own, a.at = compute.NewOperand(d, m, n), compute.NewOperand(d, n, r)
		if d != compute.Float32 {
			a.bRound = compute.NewOperand(d, m, r)
		}
	}
	copy(h.Merged, h.Value)
	v.Rebase()
	return h, nil
}

// checkRank returns an error where a rank is beyond the short side of a block's layers: the width, or a narrower MLP.
func (v *ViT) checkRank(rank int) error {
	limit, key := v.config.Width, "model.width"
	if v.config.MLP < limit {
		limit, key = v.config.MLP, "model.mlp"
	}
	if rank <= limit {
		return nil
	}
	for _, b := range v.blocks {
		for _, l := range []*Linear{b.qkv, b.proj, b.fc1, b.fc2} {
			if l.rank(rank) == limit {
				return fmt.Errorf("lora rank %d is larger than layer %q (%d×%d) allows: set lte.rank to at most %d, or enlarge %s",
					rank, l.Name, l.W.Rows, l.W.Cols, limit, key)
			}
		}
	}
	return nil
}

func (l *Linear) rank(r int) int { return min(r, l.W.Rows, l.W.Cols) }

// maxRows is how many rows a pass can have: the classifier sees class tokens alone.
func (l *Linear) maxRows(v *ViT) int {
	if l == v.head {
		return v.config.Batch
	}
	return v.config.Batch * v.config.tokens()
}

// initA draws A (r, n). "orthogonal": semi-orthogonal times √(n/r), so that every entry is about as large as a
// standard normal over √r (the authors' code); "kaiming": uniform with a = √5, U(±1/√n).
func initA(a blas32.General, how string, rng *rand.Rand) error {
	r, n := a.Rows, a.Cols
	switch how {
	case "kaiming":
		uniform(a.Data, 1/math.Sqrt(float64(n)), rng)
	case "orthogonal":
		orthogonal(a, math.Sqrt(float64(n)/float64(r)), rng)
	default:
		return fmt.Errorf("unknown initialisation %q of the factor A: expected orthogonal or kaiming", how)
	}
	return nil
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
