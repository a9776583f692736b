// Package measure computes what "Training Neural Networks from Scratch with Parallel Low-Rank Adapters" (Huh et al.,
// arXiv 2402.16828) measures of gradients, updates and heads: effective ranks, and the similarity of low-rank updates.
// Package train chooses what is measured, and when. Matrices are float32; everything is computed in float64.
//
// Sources: Roy and Vetterli, The effective rank: a measure of effective dimensionality (EUSIPCO 2007); Edelman, Arias and Smith, The
// geometry of algorithms with orthogonality constraints (SIAM J. Matrix Anal. Appl. 20, 1998), section 4.3, for the Grassmann distance;
// Björck and Golub, Numerical methods for computing angles between linear subspaces (Math. Comp. 27, 1973).
package measure

import (
	"math"

	"gonum.org/v1/gonum/blas/blas32"
	"gonum.org/v1/gonum/mat"
)

// EffectiveRank returns the effective rank of a matrix with singular values σ (Roy and Vetterli 2007, definition 1):
//
//	exp(−Σ_i p_i·log p_i),  p_i = σ_i/Σσ
//
// It is 1 for a matrix of rank one, n if n singular values are equal and the others 0, 0 for a zero matrix, and NaN for a matrix with an
// element that is not finite.
func EffectiveRank(a blas32.General) float64 {
	d := dense(a)
	if norm := mat.Norm(d, 1); math.IsNaN(norm) || math.IsInf(norm, 0) {
		return math.NaN()
	}
	sigma, total := singularValues(d), 0.0
	for _, s := range sigma {
		total += s
	}
	if total == 0 {
		return 0
	}
	entropy := 0.0
	for _, s := range sigma {
		if p := s / total; p > 0 {
			entropy -= p * math.Log(p)
		}
	}
	return math.Exp(entropy)
}

// singularValues returns the singular values of a, largest first.
func singularValues(a mat.Matrix) []float64 {
	var svd mat.SVD
	if !svd.Factorize(a, mat.SVDNone) {
		panic("measure: a singular value decomposition did not converge")
	}
	return svd.Values(nil)
}

// dense copies a matrix, which may be a view of a larger one.
func dense(a blas32.General) *mat.Dense {
	d := mat.NewDense(a.Rows, a.Cols, nil)
	for i := range a.Rows {
		row := d.RawRowView(i)
		for j, x := range a.Data[i*a.Stride : i*a.Stride+a.Cols] {
			row[j] = float64(x)
		}
	}
	return d
}
