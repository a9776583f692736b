package model

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lte/compute"
	"lte/lora"
	"lte/nn"
	"lte/nn/nntest"
)

// models runs f on a tiny model of every kind, on every back end.
func models(t *testing.T, f func(t *testing.T, c Config, b compute.Backend)) {
	for _, c := range []Config{tiny(), tinyMixer()} {
		t.Run(c.Kind, func(t *testing.T) {
			nntest.Backends(t, func(t *testing.T, b compute.Backend) { f(t, c, b) })
		})
	}
}

// tiny is a model small enough for a difference quotient of every parameter, and no two of its sizes that a mix-up
// could exchange are equal.
func tiny() Config {
	return Config{ImageHeight: 4, ImageWidth: 6, Channels: 2, Classes: 3, Patch: 2, Depth: 2, Width: 8, MLP: 12, Heads: 2,
		Kind: "vit", Positions: "learned", NormAffine: true, Batch: 2}
}

// tinyMixer is such an MLP-Mixer.
func tinyMixer() Config {
	return Config{ImageHeight: 4, ImageWidth: 6, Channels: 2, Classes: 3, Patch: 2, Depth: 2, Width: 8, MLP: 12, TokenMLP: 5,
		Kind: "mixer", NormAffine: true, Batch: 2}
}

func newModel(t *testing.T, c Config, b compute.Backend) *Model {
	t.Helper()
	v, err := New(c, b, nntest.Source(1))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func isNorm(name string) bool { return strings.Contains(name, "ln") || strings.Contains(name, "norm") }

// trains says whether a parameter of that name is ever changed.
func trains(c Config, name string) bool {
	return !(isNorm(name) && !c.NormAffine || name == "encoder.pos_embedding" && c.Positions == "sincos")
}

// lively is a model none of whose parameters that train is as it starts, of sizes that give gradients of order 1.
func lively(t *testing.T, c Config, b compute.Backend) *Model {
	t.Helper()
	v, rng := newModel(t, c, b), nntest.Source(2)
	for _, p := range v.Parameters() {
		switch {
		case !trains(c, p.Name):
		case p.Name == "class_token" || p.Name == "encoder.pos_embedding":
			nn.Normal(p.Value.Float32(), 0.8, rng)
		case p.Decay:
			nn.Normal(p.Value.Float32(), 1.5/math.Sqrt(float64(p.Len()/p.Shape[0])), rng)
		default:
			nn.Normal(p.Value.Float32(), 0.3, rng)
			if isNorm(p.Name) && strings.HasSuffix(p.Name, "weight") {
				for i := range p.Value.Float32() {
					p.Value.Float32()[i]++
				}
			}
		}
	}
	return v
}

// livelyHead attaches a head of rank 2 and s = 1.5 whose A, B, A', B' and biases are all random.
func livelyHead(t *testing.T, v *Model) *lora.Head {
	t.Helper()
	return livelyHeadOf(t, v, lora.Config{Bias: true})
}

// livelyHeadOf is such a head of another base, with biases or without, or of fewer images.
func livelyHeadOf(t *testing.T, v *Model, c lora.Config) *lora.Head {
	t.Helper()
	c.Rank, c.Alpha, c.Init = 2, 3, "orthogonal"
	h, err := newHead(v, c, nntest.Source(3))
	if err != nil {
		t.Fatal(err)
	}
	rng := nntest.Source(4)
	nn.Normal(h.Value, 0.25, rng)
	nn.Normal(h.Merged, 0.25, rng)
	h.Rebase()
	return h
}

// newHead makes one head of the model's.
func newHead(v *Model, c lora.Config, rngs ...*rand.Rand) (*lora.Head, error) {
	l, err := v.Layout(c)
	if err != nil {
		return nil, err
	}
	return l.NewHead(make([]float32, l.Length), rngs...), nil
}

// trainAll makes all parameters train, and returns their gradients.
func trainAll(v *Model) []float32 {
	_, grads := v.Train(func(string) bool { return true })
	return grads
}

// batchOf is n random images and labels.
func batchOf(c Config, n int, seed uint64) (images []float32, labels []int) {
	rng := nntest.Source(seed)
	images = make([]float32, n*c.Channels*c.ImageHeight*c.ImageWidth)
	nn.Normal(images, 1, rng)
	for range n {
		labels = append(labels, rng.IntN(c.Classes))
	}
	return images, labels
}

// step is a training pass, forward and backward; it returns the logits and the mean loss.
func step(v *Model, images []float32, labels []int, smoothing float64, noise ...*nn.Noise) (logits []float32, loss float64) {
	y := v.ForwardTraining(images, noise...)
	dlogits := compute.Heap(compute.Float32).Matrix(y.Rows, y.Cols)
	loss, _ = nn.CrossEntropy(dlogits.Data, y.Data, nn.Targets{Labels: labels, Smoothing: smoothing}, len(labels))
	logits = append(logits, y.Data...)
	v.Backward(dlogits)
	return logits, loss / float64(len(labels))
}

// nearGradient is near to the tolerance of gradients. A number added to all channels of a token is taken out by every
// LayerNorm that reads it, so the gradient of the last bias of a token MLP is 0 (or little, where masks differ), and what
// float32 finds there is its rounding of a sum whose terms are of order 1: its biases are compared beside a 1.
func nearGradient(t *testing.T, name string, got []float32, want []float64) float64 {
	t.Helper()
	if strings.HasSuffix(name, "mlp_tokens.fc2.bias") || strings.Contains(name, "mlp_tokens.fc2/b_") {
		return nntest.Near(t, name+" and 1", append(slices.Clone(got), 1), append(slices.Clone(want), 1), gradientTolerance)
	}
	return nntest.Near(t, name, got, want, gradientTolerance)
}
