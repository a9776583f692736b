package train

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"lte/collective"
	"lte/compute"
	"lte/config"
)

// vectors is testdata/optim.json, float64 results of torch made by tools/vectors.py.
type vectors struct {
	Initial    []float32
	Grads      [][]float32
	Optimizers []struct {
		Name                        string
		Beta1, Beta2, Eps, Momentum float64
		WeightDecay                 float64 `json:"weight_decay"`
		LRs                         []float64
		After                       [][]float64
	}
	Schedules []struct {
		Steps, Warmup int
		LR            float64
		MinLR         float64 `json:"min_lr"`
		LRs           []float64
	}
	Clipping []struct {
		Before  []float32
		MaxNorm float64 `json:"max_norm"`
		Norm    float64
		After   []float64
	}
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	must(t, json.Unmarshal(text, into))
}

func readVectors(t *testing.T) *vectors {
	t.Helper()
	v := new(vectors)
	readJSON(t, "testdata/optim.json", v)
	if len(v.Optimizers) != 3 || len(v.Schedules) != 2 || len(v.Clipping) != 2 {
		t.Fatal("testdata/optim.json is not what this test was written for")
	}
	return v
}

// Fails if an optimizer's arithmetic is not torch's: a bias correction of another step, eps inside the root, decay
// coupled or after the step, momentum damped, clip not applied.
func TestOptimizersAsTorch(t *testing.T) {
	v := readVectors(t)
	for _, name := range backends() {
		for _, o := range v.Optimizers {
			t.Run(name+"/"+o.Name, func(t *testing.T) {
				be := backend(t, name, 1)
				kind, _, _ := strings.Cut(o.Name, "_")
				c := config.Optimizer{Name: kind, Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps, Momentum: o.Momentum, WeightDecay: o.WeightDecay}
				n := len(v.Initial)
				p := parameters{slices.Clone(v.Initial), make([]float32, n), []span{{from: 0, to: 5, decay: true}, {from: 5, to: n, decay: true}}}
				opt := newOptimizer(c, be, compute.Heap(compute.Float32), p)
				for i, g := range v.Grads {
					clip := float64(int(1) << i) // undone by the optimizer, exactly
					for j, x := range g {
						p.grad[j] = x / float32(clip)
					}
					opt.step(o.LRs[i], clip)
					near(t, o.Name, p.value, o.After[i], 5e-7)
				}
			})
		}
	}
}

// Fails if the warm-up is off by a step, or the cosine does not end one step beyond the last.
func TestScheduleAsTorch(t *testing.T) {
	for _, s := range readVectors(t).Schedules {
		if len(s.LRs) != s.Steps {
			t.Fatalf("%d rates for %d steps", len(s.LRs), s.Steps)
		}
		for step, want := range s.LRs {
			got := learningRate(s.LR, config.Schedule{Warmup: s.Warmup, MinLR: s.MinLR}, step, s.Steps)
			if math.Abs(got-want) > 1e-12*want {
				t.Errorf("warm-up %d, step %d: %v, want %v", s.Warmup, step, got, want)
			}
		}
	}
}

// Fails if a warm-up as long as the run, or longer, does anything but rise, or divides by 0.
func TestScheduleMayBeAllWarmup(t *testing.T) {
	for _, warmup := range []int{4, 8} {
		for step := range 4 {
			want := 0.5 * float64(step+1) / float64(warmup)
			if got := learningRate(0.5, config.Schedule{Warmup: warmup}, step, 4); math.Abs(got-want) > 1e-15 {
				t.Errorf("warm-up %d, step %d: %v, want %v", warmup, step, got, want)
			}
		}
	}
}

// Fails if a gradient is scaled up, or to another norm than torch scales it to, or if 0 does not mean unlimited.
func TestClipAsTorch(t *testing.T) {
	for _, name := range backends() {
		be := backend(t, name, 1)
		for _, c := range readVectors(t).Clipping {
			g := slices.Clone(c.Before)
			norm := math.Sqrt(be.SumSquares(g))
			if math.Abs(norm-c.Norm) > 1e-12*c.Norm {
				t.Errorf("%s: norm %v, want %v", name, norm, c.Norm)
			}
			for i := range g {
				g[i] *= float32(clip(norm, c.MaxNorm))
			}
			near(t, name, g, c.After, 2e-7)
			if clip(norm, 0) != 1 {
				t.Errorf("%s: clipped without a limit", name)
			}
		}
	}
}

// Fails if full decays a bias, the class token, the positions or a LayerNorm, or leaves a matrix out; and if lte does not
// decay every factor.
func TestDecaySparesVectors(t *testing.T) {
	for _, name := range []string{"adamw", "sgd"} {
		for _, affine := range []bool{false, true} {
			for _, positions := range []string{"learned", "sincos"} {
				c := tinyConfig("full")
				c.Model.NormAffine, c.Model.Positions = affine, positions
				c.Optimizer.Name, c.Optimizer.WeightDecay = name, 0.5
				tr := newTrainer(t, c, collective.Alone{}, tinySet(8))
				before := map[string][]float32{}
				for _, p := range tr.model.Parameters() {
					before[p.Name] = slices.Clone(p.Value.Float32())
				}
				tr.workers[0].update(0.1, 0, 0) // the gradients are 0: what moves is decay alone
				decayed := 0
				for _, p := range tr.model.Parameters() {
					want := before[p.Name]
					matrix := strings.HasSuffix(p.Name, "weight") && !strings.Contains(p.Name, "ln")
					if matrix {
						decayed++
						for i := range want {
							want[i] *= 1 - 0.05
						}
					}
					near(t, p.Name, p.Value.Float32(), want, 1e-6)
				}
				if decayed != 6 {
					t.Fatalf("%d matrices, want 6", decayed)
				}
			}
		}
		c := tinyConfig("lte")
		c.Optimizer.Name, c.Optimizer.WeightDecay = name, 0.5
		tr := newTrainer(t, c, collective.Alone{}, tinySet(8))
		head := tr.workers[0].heads[0].Value
		for i := range head { // B too
			head[i] = 1
		}
		tr.workers[0].update(0.1, 0, 0)
		for i := range head {
			if math.Abs(float64(head[i])-0.95) > 1e-6 {
				t.Fatalf("%s: factor %d is %v after decay, want 0.95", name, i, head[i])
			}
		}
	}
}
