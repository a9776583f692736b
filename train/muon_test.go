package train

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"lte/checkpoint"
	"lte/collective"
	"lte/compute"
	"lte/config"
)

// Fails if an update is not what PyTorch computes by Newton–Schulz steps on the matrix itself (tools/vectors.py): another momentum or
// scale, a polynomial of the wrong side's Gram matrix, decay coupled or after the step, clip not applied.
func TestMuonAsTorch(t *testing.T) {
	var v struct {
		Momentum float64
		Decay    float64 `json:"weight_decay"`
		LRs      []float64
		Runs     []struct {
			Rows, Cols int
			Initial    []float32
			Grads      [][]float32
			After      [][]float64
		}
	}
	readJSON(t, "testdata/muon.json", &v)
	for _, name := range backends() {
		for _, r := range v.Runs {
			t.Run(fmt.Sprintf("%s/%d×%d", name, r.Rows, r.Cols), func(t *testing.T) {
				n := len(r.Initial)
				p := parameters{slices.Clone(r.Initial), make([]float32, n), []span{{from: 0, to: n, decay: true, columns: r.Cols}}}
				c := config.Optimizer{Name: "muon", LR: 1, AdamWLR: 1, Muon: v.Momentum, WeightDecay: v.Decay}
				o := newOptimizer(c, backend(t, name, 1), compute.Heap(compute.Float32), p)
				for i, g := range r.Grads {
					clip := float64(int(1) << i) // undone by the optimizer, exactly
					for j, x := range g {
						p.grad[j] = x / float32(clip)
					}
					o.step(v.LRs[i], clip)
					near(t, "value", p.value, r.After[i], 2e-6)
				}
			})
		}
	}
}

// Singular values of the update are those that five Newton–Schulz steps leave: 0.68 to 1.21 of the largest ones down to 0.3 %, and less of smaller ones.
//
// Fails if the float32 Gram matrix of a matrix with singular values over six orders of magnitude makes another update than the twin, which
// takes the steps on the matrix itself in float64.
func TestMuonOfIllConditionedMatrices(t *testing.T) {
	for _, name := range backends() {
		for _, side := range [][2]int{{96, 96}, {24, 64}, {64, 24}, {192, 48}, {40, 192}} {
			m, n := side[0], side[1]
			rng := rand.New(rand.NewPCG(uint64(m), uint64(n)))
			u := make([]float32, m*n)
			for k := range min(m, n) { // Σ_k σ_k·x_k·y_kᵀ, σ from 1 down to 1e-6
				sigma := math.Pow(10, -6*float64(k)/float64(min(m, n)))
				x, y := make([]float64, m), make([]float64, n)
				for i := range x {
					x[i] = rng.NormFloat64()
				}
				for j := range y {
					y[j] = rng.NormFloat64()
				}
				for i := range x {
					for j := range y {
						u[i*n+j] += float32(sigma * x[i] * y[j])
					}
				}
			}
			want := orthogonalTwin(u, m, n)
			p := parameters{make([]float32, m*n), slices.Clone(u), []span{{from: 0, to: m * n, decay: false, columns: n}}}
			newOptimizer(config.Optimizer{Name: "muon", LR: 1, AdamWLR: 1}, backend(t, name, 1), compute.Heap(compute.Float32), p).step(1, 1)
			scale := -0.2 * math.Sqrt(float64(max(m, n)))
			for i := range want {
				want[i] *= scale
			}
			near(t, fmt.Sprintf("%s: update of %d×%d", name, m, n), p.value, want, 3e-3)
		}
	}
}

// orthogonalTwin takes five Newton–Schulz steps on x/‖x‖ (m, n) itself, in float64.
func orthogonalTwin(x []float32, m, n int) []float64 {
	y, norm := make([]float64, m*n), 0.0
	for _, v := range x {
		norm += float64(v) * float64(v)
	}
	for i, v := range x {
		y[i] = float64(v) / math.Sqrt(norm)
	}
	for range 5 {
		// s = yᵀy (n, n); y ← y(aI + bs + cs²) = a·y + b·ys + c·(ys)s
		s := make([]float64, n*n)
		for i := range m {
			for j := range n {
				for k := range n {
					s[j*n+k] += y[i*n+j] * y[i*n+k]
				}
			}
		}
		times := func(x []float64) []float64 {
			out := make([]float64, m*n)
			for i := range m {
				for j := range n {
					for k := range n {
						out[i*n+k] += x[i*n+j] * s[j*n+k]
					}
				}
			}
			return out
		}
		ys := times(y)
		yss := times(ys)
		for i := range y {
			y[i] = 3.4445*y[i] - 4.7750*ys[i] + 2.0315*yss[i]
		}
	}
	return y
}

// Fails if a matrix whose gradient is 0, tiny, huge or of rank 1 moves by anything that is not finite, or by more than the scale allows; or if a zero gradient
// moves it at all.
func TestMuonOfDegenerateGradients(t *testing.T) {
	const m, n = 3, 8 // more columns than rows: r > m of a factor B
	for name, of := range map[string]func(i int) float32{
		"zero":   func(int) float32 { return 0 },
		"tiny":   func(i int) float32 { return float32(i) * 1e-38 },
		"small":  func(i int) float32 { return float32(i+1) * 1e-20 },
		"huge":   func(i int) float32 { return float32(i%5) * 1e18 },
		"rank 1": func(i int) float32 { return 1 },
		"one":    func(i int) float32 { return float32(max(0, 1-i)) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, be := range backends() {
				p := parameters{make([]float32, m*n), make([]float32, m*n), []span{{from: 0, to: m * n, decay: true, columns: n}}}
				o := newOptimizer(config.Optimizer{Name: "muon", LR: 1, AdamWLR: 1, Muon: 0.95}, backend(t, be, 1), compute.Heap(compute.Float32), p)
				for range 3 {
					for i := range p.grad {
						p.grad[i] = of(i)
					}
					o.step(1, 1)
				}
				norm := 0.0
				for _, x := range p.value {
					norm += float64(x) * float64(x)
				}
				norm = math.Sqrt(norm)
				if most := 3 * 0.2 * math.Sqrt(n) * 1.3 * math.Sqrt(m); math.IsNaN(norm) || norm > most {
					t.Errorf("%s: moved by %v, expected at most %v", be, norm, most)
				}
				if moves := name != "zero" && name != "tiny"; moves != (norm > 0.5) {
					t.Errorf("%s: moved by %v", be, norm)
				}
			}
		})
	}
}

// Muon updates the matrices of hidden layers and the factors of their heads; AdamW the rest, at a rate of its own.
//
// Fails if the classifier, a vector or a token is orthogonalized, a hidden matrix is not, or if the rest has Muon's rate.
func TestMuonLeavesTheRestToAdamW(t *testing.T) {
	for _, method := range []string{"full", "lte"} {
		c := tinyConfig(method)
		c.Optimizer.Name, c.Optimizer.WeightDecay, c.Optimizer.AdamWLR, c.LoRA.Bias = "muon", 0, c.Optimizer.LR/8, method == "lte"
		c.Model.NormAffine = true
		tr := started(t, c, collective.Alone{}, tinySet(40))
		w := tr.workers[0]
		o := w.groups[0].optimizer.(*muon)
		for i := range w.groups[0].grad { // AdamW's first step is its rate everywhere
			w.groups[0].grad[i] = float32(i%7 - 3)
			w.groups[0].value[i] = 0
		}
		w.update(c.Optimizer.LR, 0, 0)
		muons, rest := 0, 0
		for _, s := range w.groups[0].spans {
			rms := 0.0
			for i := s.from; i < s.to; i++ {
				x := float64(w.groups[0].value[i])
				rms += x * x / float64(s.length())
				if s.columns == 0 && i%7 != 3 && math.Abs(math.Abs(x)-c.Optimizer.LR/8) > 1e-6*c.Optimizer.LR {
					t.Fatalf("%s: AdamW's step is %v, expected %v", method, x, c.Optimizer.LR/8)
				}
			}
			if s.columns == 0 {
				rest++
				continue
			}
			muons++
			if rms = math.Sqrt(rms); rms > 0.25*c.Optimizer.LR || rms < 0.02*c.Optimizer.LR {
				t.Errorf("%s: Muon's step has a root mean square of %v", method, rms)
			}
		}
		hidden := len(tr.model.Layers()) - 1
		if method == "lte" {
			hidden *= 2
		}
		if muons != hidden || rest == 0 {
			t.Errorf("%s: %d matrices by Muon, expected %d; %d others", method, muons, hidden, rest)
		}
		var tensors checkpoint.Tensors
		o.state(&tensors, "weights")
		moments := 0
		for _, x := range tensors {
			if x.Name != "weights.steps" {
				moments += len(x.Bytes) / 4
			}
		}
		most := len(w.groups[0].value) * 3 / 2
		if moments >= most {
			t.Errorf("%s: %d moments of %d values, expected fewer than %d", method, moments, len(w.groups[0].value), most)
		}
	}
}
