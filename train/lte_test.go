package train

import (
	"math"
	"math/rand/v2"
	"testing"

	"lte/compute"
)

// The merge's bits do not depend on the number of threads, at inner sides where one product's bits do: ranks with
// unequal threads stay in lockstep. Fails with a single Gemm over all N·r (inner = 1 << 30).
func TestMergeBitsWhateverTheThreads(t *testing.T) {
	if compute.Auto != "onednn" {
		t.Skip("one back end without threads")
	}
	r := rand.New(rand.NewPCG(1, 1))
	for _, s := range [][3]int{{10, 64, 2048}, {64, 64, 1024}, {384, 3072, 512}, {100, 192, 1030}} {
		m, n, k := s[0], s[1], s[2]
		a, b := compute.NewMatrix(k, n), compute.NewMatrix(m, k)
		for _, x := range [][]float32{a.Data, b.Data} {
			for i := range x {
				x[i] = float32(r.NormFloat64())
			}
		}
		var want []float32
		for _, threads := range []int{1, 2, 8, 16} {
			be, err := compute.New("onednn", threads, compute.Float32)
			if err != nil {
				t.Fatal(err)
			}
			w := compute.NewMatrix(m, n)
			addProduct(be, w, 0.5, b, a)
			if want == nil {
				want = w.Data
			}
			for i := range want {
				if math.Float32bits(w.Data[i]) != math.Float32bits(want[i]) {
					t.Fatalf("%v: number %d is %v with %d threads and %v with one", s, i, w.Data[i], threads, want[i])
				}
			}
		}
	}
}
