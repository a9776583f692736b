package measure

import (
	"math"

	"gonum.org/v1/gonum/blas/blas32"
	"gonum.org/v1/gonum/mat"
)

// Head is one layer's part of a LoRA head, the update B·A, prepared for comparison with others.
type Head struct {
	a, b *mat.Dense // (r, in), (out, r)
	q    *mat.Dense // (in, r): an orthonormal basis of the row space of A
	norm float64    // ‖BA‖
}

// NewHead prepares the factors A (r, in) and B (out, r), r at most in. It panics on other shapes.
func NewHead(a, b blas32.General) Head {
	if b.Cols != a.Rows || a.Rows > a.Cols {
		panic("measure: factors of incompatible shapes")
	}
	h := Head{a: dense(a), b: dense(b)}
	var qr mat.QR
	qr.Factorize(h.a.T())
	var q mat.Dense
	qr.QTo(&q)
	h.q = mat.DenseCopyOf(q.Slice(0, a.Cols, 0, a.Rows))
	h.norm = math.Sqrt(Inner(h, h))
	return h
}

// Inner returns the inner product of two heads' updates, without forming them:
//
//	⟨B_i A_i, B_j A_j⟩ = Σ (B_iᵀB_j) ∘ (A_i A_jᵀ)
func Inner(i, j Head) float64 {
	var outs, ins mat.Dense // (r_i, r_j)
	outs.Mul(i.b.T(), j.b)
	ins.Mul(i.a, j.a.T())
	outs.MulElem(&outs, &ins)
	return mat.Sum(&outs)
}

// Cosine returns ⟨B_i A_i, B_j A_j⟩ / (‖B_i A_i‖·‖B_j A_j‖): 0 where the updates are orthogonal, NaN where one is 0.
func Cosine(i, j Head) float64 { return Inner(i, j) / (i.norm * j.norm) }

// Grassmann returns the Grassmann distance of the row spaces of two A's, √Σθ², where θ are the principal angles between them: cos θ are
// the singular values of Q_iᵀQ_j. It is 0 for equal row spaces and √r·π/2 for orthogonal ones; angles below 1e-7 are lost to rounding of
// their cosine.
func Grassmann(i, j Head) float64 {
	var product mat.Dense // (r_i, r_j)
	product.Mul(i.q.T(), j.q)
	sum := 0.0
	for _, cosine := range singularValues(&product) {
		theta := math.Acos(min(cosine, 1))
		sum += theta * theta
	}
	return math.Sqrt(sum)
}

// Pairs returns means over all pairs of heads of one layer: of |cosine| between their updates, and of the Grassmann distance of their row
// spaces divided by its maximum √r·π/2: 0 if equal, 1 if orthogonal. Pairs with a zero update have no cosine and are left out of that
// mean. Either is NaN without a pair.
func Pairs(heads []Head) (alignment, grassmann float64) {
	cosines, pairs := 0.0, 0.0
	for i := range heads {
		for j := range i {
			if c := Cosine(heads[i], heads[j]); !math.IsNaN(c) {
				alignment += math.Abs(c)
				cosines++
			}
			r := min(heads[i].a.RawMatrix().Rows, heads[j].a.RawMatrix().Rows)
			grassmann += Grassmann(heads[i], heads[j]) / (math.Sqrt(float64(r)) * math.Pi / 2)
			pairs++
		}
	}
	return alignment / cosines, grassmann / pairs
}
