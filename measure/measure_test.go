package measure

import (
	"math"
	"math/rand/v2"
	"testing"

	"gonum.org/v1/gonum/blas/blas32"
	"gonum.org/v1/gonum/mat"
)

func matrix(rows, cols int, x ...float32) blas32.General {
	if x == nil {
		x = make([]float32, rows*cols)
	}
	return blas32.General{Rows: rows, Cols: cols, Stride: cols, Data: x}
}

func random(rng *rand.Rand, rows, cols int) blas32.General {
	m := matrix(rows, cols)
	for i := range m.Data {
		m.Data[i] = float32(rng.NormFloat64())
	}
	return m
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

// Fails if the logarithm, the sum or the case of a zero matrix is wrong.
func TestEffectiveRankInClosedForm(t *testing.T) {
	identity := matrix(7, 7)
	for i := range 7 {
		identity.Data[8*i] = 3
	}
	one := matrix(5, 9)
	for i := range one.Data {
		one.Data[i] = float32((i/9 + 1) * (i%9 - 3)) // an outer product
	}
	for _, c := range []struct {
		name string
		a    blas32.General
		want float64
	}{
		{"identity", identity, 7},
		{"rank one", one, 1},
		{"two equal singular values", matrix(3, 2, 0, 2, -2, 0, 0, 0), 2},
		// p = 3/4 and 1/4: exp(3/4·log 4/3 + 1/4·log 4) = (4/3)^(3/4)·4^(1/4) = 4/3^(3/4)
		{"two singular values", matrix(2, 3, 3, 0, 0, 0, 0, -1), 4 / math.Pow(3, 0.75)},
		// p = 1/2, 1/4, 1/8 and 1/8: an entropy of 1.75 bits
		{"four singular values", matrix(4, 4, 0, 4, 0, 0, 1, 0, 0, 0, 0, 0, 0, -2, 0, 0, 1, 0), math.Pow(2, 1.75)},
		{"orthogonal rows", matrix(2, 2, 1, 1, 1, -1), 2},
		{"zeros", matrix(2, 3), 0},
		{"part of a larger matrix", blas32.General{Rows: 2, Cols: 2, Stride: 3, Data: []float32{1, 0, 9, 0, 1}}, 2},
	} {
		near(t, c.name, EffectiveRank(c.a), c.want, 1e-12)
	}
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		if got := EffectiveRank(matrix(1, 2, float32(bad), 1)); !math.IsNaN(got) {
			t.Errorf("with %v: %v", bad, got)
		}
	}
}

func TestEffectiveRankIsInvariantToScaleAndTransposition(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	a := random(rng, 12, 5)
	transposed, scaled := matrix(5, 12), matrix(12, 5)
	for i := range 12 {
		for j := range 5 {
			transposed.Data[j*12+i] = a.Data[i*5+j]
			scaled.Data[i*5+j] = 1024 * a.Data[i*5+j]
		}
	}
	want := EffectiveRank(a)
	near(t, "transposed", EffectiveRank(transposed), want, 1e-12)
	near(t, "scaled", EffectiveRank(scaled), want, 1e-12)
	if want <= 1 || want >= 5 {
		t.Errorf("effective rank %v of a 12×5 matrix", want)
	}
}

// Compared with the formed products.
func TestInnerEqualsThatOfTheProducts(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	x := NewHead(random(rng, 3, 8), random(rng, 6, 3))
	y := NewHead(random(rng, 2, 8), random(rng, 6, 2)) // ranks may differ
	var p, q mat.Dense
	p.Mul(x.b, x.a)
	q.Mul(y.b, y.a)
	var product mat.Dense
	product.MulElem(&p, &q)
	want := mat.Sum(&product)
	near(t, "inner product", Inner(x, y), want, 1e-12*math.Abs(want))
	near(t, "cosine", Cosine(x, y), want/(mat.Norm(&p, 2)*mat.Norm(&q, 2)), 1e-12)
	near(t, "norm", x.norm, mat.Norm(&p, 2), 1e-12*x.norm)
}

// Fails if an angle, the number of angles or their maximum is wrong, if the distance depends on the basis, or if opposite updates count
// as negative.
func TestCosineAndGrassmannInClosedForm(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	b := random(rng, 4, 2)
	first := matrix(2, 6, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0)   // spans e1, e2
	other := matrix(2, 6, 0, 0, 3, 0, 0, 0, 0, 0, 1, -1, 0, 0)  // spans e3, e4
	tilted := matrix(2, 6, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, -1) // e1, and 45° from e2
	same := NewHead(first, b)
	half := float32(math.Sqrt(3) / 2)
	for _, c := range []struct {
		name              string
		a                 blas32.General
		cosine, grassmann float64
	}{
		// Rows at 30° from e1 and at 60° from e2, and two that span the same: √((π/6)² + (π/3)²)
		{"angles of 30° and 60°", matrix(2, 6, half, 0, 0.5, 0, 0, 0, 0, 0.5, 0, half, 0, 0), math.NaN(), math.Pi * math.Sqrt(5) / 6},
		{"another basis of it", matrix(2, 6, half, 0.5, 0.5, half, 0, 0, half, -1, 0.5, -2*half, 0, 0), math.NaN(), math.Pi * math.Sqrt(5) / 6},
		{"same head", first, 1, 0},
		{"orthogonal heads", other, 0, math.Sqrt2 * math.Pi / 2},
		{"one angle of 45°", tilted, math.NaN(), math.Pi / 4},
	} {
		h := NewHead(c.a, b)
		if !math.IsNaN(c.cosine) {
			near(t, c.name+": cosine", Cosine(same, h), c.cosine, 1e-12)
		}
		near(t, c.name+": Grassmann distance", Grassmann(same, h), c.grassmann, 1e-7)
		near(t, c.name+": symmetry", Grassmann(h, same), c.grassmann, 1e-7)
	}

	orthogonal := NewHead(other, b)
	alignment, grassmann := Pairs([]Head{same, orthogonal, same})
	near(t, "alignment of pairs", alignment, 1./3, 1e-12)
	near(t, "distance of pairs", grassmann, 2./3, 1e-7)
	opposite := matrix(4, 2)
	for i, x := range b.Data {
		opposite.Data[i] = -x
	}
	alignment, _ = Pairs([]Head{same, NewHead(first, opposite)})
	near(t, "alignment of opposite updates", alignment, 1, 1e-12)
	// Of a head of rank 1 beside one of rank 2 there is one angle, 45° of at most 90°.
	diagonal := NewHead(matrix(1, 6, 1, 0, 1, 0, 0, 0), matrix(4, 1, 1, 0, 0, 0))
	_, grassmann = Pairs([]Head{same, diagonal})
	near(t, "distance of other ranks", grassmann, 0.5, 1e-7)
	// Rows as many as columns span everything.
	square := NewHead(matrix(2, 2, 1, 2, 3, 4), b)
	near(t, "distance of whole spaces", Grassmann(square, NewHead(matrix(2, 2, 5, 1, 0, 2), b)), 0, 1e-7)
	alignment, _ = Pairs([]Head{same, NewHead(first, matrix(4, 2)), same})
	near(t, "alignment beside an update of 0", alignment, 1, 1e-12)
	// Rounding makes some cosines of a span with itself more than 1, of which there is no angle.
	for range 20 {
		h := NewHead(random(rng, 3, 9), random(rng, 4, 3))
		near(t, "distance of a span from itself", Grassmann(h, h), 0, 1e-7)
	}
	if alignment, grassmann := Pairs([]Head{same}); !math.IsNaN(alignment) || !math.IsNaN(grassmann) {
		t.Errorf("pairs of one head: %v, %v", alignment, grassmann)
	}
}

// Fails if gonum panics later instead of this package.
func TestIncompatibleFactorsPanic(t *testing.T) {
	for name, f := range map[string]func(){
		"ranks differ": func() { NewHead(matrix(2, 4), matrix(3, 3)) },
		"rank beyond":  func() { NewHead(matrix(5, 4), matrix(3, 5)) },
	} {
		func() {
			defer func() {
				if got := recover(); got != "measure: factors of incompatible shapes" {
					t.Errorf("%s: panic %v", name, got)
				}
			}()
			f()
		}()
	}
}

// What a measurement costs for one layer of a small ViT's MLP.
func BenchmarkEffectiveRank(b *testing.B) {
	a := random(rand.New(rand.NewPCG(7, 8)), 768, 192)
	for b.Loop() {
		EffectiveRank(a)
	}
}

func BenchmarkPairs(b *testing.B) {
	rng := rand.New(rand.NewPCG(9, 10))
	for b.Loop() {
		var heads []Head
		for range 8 {
			heads = append(heads, NewHead(random(rng, 16, 192), random(rng, 768, 16)))
		}
		Pairs(heads)
	}
}
