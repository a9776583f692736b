package model

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"lte/compute"
)

// backends runs f on every back end of this build; "onednn" is skipped, and seen to be, where it was not built.
func backends(t *testing.T, f func(t *testing.T, b compute.Backend)) {
	for _, name := range []string{"onednn", "gonum"} {
		t.Run(name, func(t *testing.T) {
			b, err := compute.New(name, 1, compute.Float32)
			if err != nil {
				t.Skip(err)
			}
			f(t, b)
		})
	}
}

// tiny is a model small enough for a difference quotient of every parameter, and no two of its sizes that a mix-up
// could exchange are equal.
func tiny() Config {
	return Config{ImageHeight: 4, ImageWidth: 6, Channels: 2, Classes: 3, Patch: 2, Depth: 2, Width: 8, MLP: 12, Heads: 2,
		Positions: "learned", NormAffine: true, Batch: 2}
}

func source(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func newViT(t *testing.T, c Config, b compute.Backend) *ViT {
	t.Helper()
	v, err := NewViT(c, b, source(1))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func isNorm(name string) bool { return strings.Contains(name, "ln") }

// trains says whether a parameter of that name is ever changed.
func trains(c Config, name string) bool {
	return !(isNorm(name) && !c.NormAffine || name == "encoder.pos_embedding" && c.Positions == "sincos")
}

// lively is a model none of whose parameters that train is as it starts, of sizes that give gradients of order 1.
func lively(t *testing.T, c Config, b compute.Backend) *ViT {
	t.Helper()
	v, rng := newViT(t, c, b), source(2)
	for _, p := range v.Parameters() {
		switch {
		case !trains(c, p.Name):
		case p.Name == "class_token" || p.Name == "encoder.pos_embedding":
			normal(p.Value, 0.8, rng)
		case p.Decay:
			normal(p.Value, 1.5/math.Sqrt(float64(len(p.Value)/p.Shape[0])), rng)
		default:
			normal(p.Value, 0.3, rng)
			if isNorm(p.Name) && strings.HasSuffix(p.Name, "weight") {
				for i := range p.Value {
					p.Value[i]++
				}
			}
		}
	}
	return v
}

// livelyHead attaches a head of rank 2 and s = 1.5 whose A, B, A' and B' are all random.
func livelyHead(t *testing.T, v *ViT) *Head {
	t.Helper()
	h, err := v.AttachHead(HeadConfig{Rank: 2, Alpha: 3, Init: "orthogonal"}, source(3))
	if err != nil {
		t.Fatal(err)
	}
	rng := source(4)
	normal(h.Value, 0.25, rng)
	normal(h.Merged, 0.25, rng)
	v.Rebase()
	return h
}

// batchOf is n random images and labels.
func batchOf(c Config, n int, seed uint64) (images []float32, labels []int) {
	rng := source(seed)
	images = make([]float32, n*c.Channels*c.ImageHeight*c.ImageWidth)
	normal(images, 1, rng)
	for range n {
		labels = append(labels, rng.IntN(c.Classes))
	}
	return images, labels
}

// step is a forward and a backward pass; it returns the logits and the mean loss.
func step(v *ViT, images []float32, labels []int, smoothing float64) (logits []float32, loss float64) {
	y := v.Forward(images)
	dlogits := compute.NewMatrix(y.Rows, y.Cols)
	loss, _ = CrossEntropy(dlogits.Data, y.Data, labels, smoothing)
	logits = append(logits, y.Data...)
	v.Backward(dlogits)
	return logits, loss / float64(len(labels))
}

// near fails unless got differs from want by at most tol of want's largest value: everywhere, and NaN nowhere. It
// returns that difference.
func near[T float32 | float64](t *testing.T, what string, got []T, want []float64, tol float64) float64 {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	size, worst, at := 0.0, 0.0, 0
	for _, w := range want {
		size = max(size, math.Abs(w))
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= worst) {
			worst, at = d, i
		}
	}
	if !(worst <= tol*size) {
		t.Errorf("%s[%d] = %v, want %v: off by %.2g of the largest value, more than %g", what, at, got[at], want[at],
			worst/size, tol)
	}
	if size == 0 {
		return 0
	}
	return worst / size
}

func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}
