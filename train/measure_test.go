package train

import (
	"errors"
	"math"
	"testing"

	"lte/collective"
	"lte/config"
	"lte/data"
	"lte/lora"
	"lte/measure"
	"lte/nn"
)

// measured is tinyConfig with measurements of two layers, whose gradient's images are no multiple of a pass.
func measured(method string) config.Config {
	c := tinyConfig(method)
	c.Measure = config.Measure{Every: 3, Images: 13, Layers: []string{"*.mlp.*"}}
	if method == "lte" || method == "mhlora" {
		c.LoRA.Heads = 3
	}
	return c
}

// newProbed is newTrainer, which draws other weights than New, for a trainer that measures.
func newProbed(t *testing.T, c config.Config, set *data.Set) *Trainer {
	tr := newTrainer(t, c, collective.Alone{}, set)
	for i, l := range tr.probe.layers {
		copy(tr.probe.origins[i], l.W.Float32())
	}
	return tr
}

// Fails if a run with measurements is another run than that without, or does not have what its method can tell.
func TestMeasurements(t *testing.T) {
	for _, method := range []string{"lte", "full", "lora", "mhlora", "sequential", "localsgd"} {
		t.Run(method, func(t *testing.T) {
			c := measured(method)
			if c.Spec().HasHeads() {
				c.Replicas.Train = []string{"class_token", "heads.head.*"}
			}
			plain := c
			plain.Measure.Every = 0
			tr, none := newProbed(t, c, tinySet(50)), newTrainer(t, plain, collective.Alone{}, tinySet(50))
			var seen, unseen observed
			_, err := tr.Run(&seen)
			must(t, err)
			_, err = none.Run(&unseen)
			must(t, err)
			if tr.digest() != none.digest() {
				t.Error("measuring changes the weights")
			}
			for _, r := range unseen.records {
				if r.GradientRank != nil || r.UpdateRank != nil || r.Alignment != nil || r.Grassmann != nil {
					t.Error("measured, unasked")
				}
			}
			several := method == "lte" || method == "mhlora"
			for _, r := range seen.records {
				within(t, "gradient_rank", r.GradientRank, 1, 8, true)
				within(t, "update_rank", r.UpdateRank, 1, 8, true)
				within(t, "alignment", r.Alignment, 0, 1, several)
				within(t, "grassmann", r.Grassmann, 0, 1, several)
			}
			if method == "lora" { // W − W⁰ = s·BA, of rank 2
				within(t, "update_rank", seen.records[0].UpdateRank, 1, 2.01, true)
			}
		})
	}
}

// within fails unless x is there, if it is to be, and between the two.
func within(t *testing.T, what string, x *float64, low, high float64, want bool) {
	t.Helper()
	if (x != nil) != want {
		t.Fatalf("%s: there %v, want %v", what, x != nil, want)
	}
	if want && !(*x >= low && *x <= high) {
		t.Errorf("%s = %v, want %v to %v", what, *x, low, high)
	}
}

// What is measured is what a simple twin finds at the merged weights: the gradient of one pass of all weights, W − W⁰,
// and the heads' products. Fails if the layers' mean, the images, or A, B and s are others.
func TestMeasurementsAreThoseOfTheWeights(t *testing.T) {
	for _, method := range []string{"lte", "mhlora"} {
		c := measured(method)
		c.Measure.Images = 8 // one pass
		set := tinySet(50)
		tr := newProbed(t, c, set)
		var seen observed
		_, err := tr.Run(&seen)
		must(t, err)
		got := seen.records[len(seen.records)-1]

		twin := newTrainer(t, tinyConfig("full"), collective.Alone{}, set)
		copy(twin.model.Flat(), tr.model.Flat())
		b := common(set, 1)
		var images []float32
		var labels []int
		for i := range 8 {
			one := b.batches(i * 50 / 8)
			images, labels = append(images, one.Images...), append(labels, one.Labels...)
		}
		twin.model.UseMerged()
		twin.model.ZeroGrad()
		logits := twin.model.Forward(images)
		nn.CrossEntropy(logits.Data, logits.Data, nn.Targets{Labels: labels, Smoothing: 0.1}, 8)
		twin.model.Backward(logits)

		var gradient, update, alignment float64
		var norms [3]float64
		found := 0
		for i, l := range twin.model.Layers() {
			if !match("*.mlp.*", l.Name) {
				continue
			}
			gradient += measure.EffectiveRank(l.GradW) / 2
			norms[0] += squares(l.GradW.Data)
			moved := l.GradW
			for j, w := range l.W.Float32() {
				moved.Data[j] = w - tr.probe.origins[found][j]
			}
			update += measure.EffectiveRank(moved) / 2
			norms[1] += squares(moved.Data)
			norms[2] += squares(l.W.Float32())
			var updates [][]float64
			for _, f := range tr.algorithm.headFactors(tr.model.Layers()[i]) {
				updates = append(updates, product(f))
			}
			// The heads' updates add up to the layer's, but for 1/N.
			total := make([]float64, len(moved.Data))
			for k, u := range updates {
				for j, x := range u {
					total[j] += x
				}
				for _, v := range updates[:k] {
					alignment += math.Abs(dot(u, v)/math.Sqrt(dot(u, u)*dot(v, v))) / 6
				}
			}
			s := 2.0 // α/r
			if method == "lte" {
				s /= 3
			}
			for j := range total {
				total[j] *= s
			}
			near(t, method+": the heads' sum", moved.Data, total, 1e-4)
			found++
		}
		near(t, method+": ranks and alignment", []float64{*got.GradientRank, *got.UpdateRank, *got.Alignment},
			[]float64{gradient, update, alignment}, 1e-4)
		near(t, method+": norms", []float64{*got.GradientNorm, *got.UpdateNorm, *got.WeightNorm},
			[]float64{math.Sqrt(norms[0]), math.Sqrt(norms[1]), math.Sqrt(norms[2])}, 1e-4)
	}
}

func product(f lora.Factors) (out []float64) {
	for i := range f.B.Rows {
		for j := range f.A.Cols {
			sum := 0.0
			for k := range f.A.Rows {
				sum += float64(f.B.Data[i*f.B.Stride+k]) * float64(f.A.Data[k*f.A.Stride+j])
			}
			out = append(out, sum)
		}
	}
	return out
}

func squares(x []float32) (sum float64) {
	for _, v := range x {
		sum += float64(v) * float64(v)
	}
	return sum
}

func dot(x, y []float64) (sum float64) {
	for i := range x {
		sum += x[i] * y[i]
	}
	return sum
}

func TestUnknownMeasuredLayersAreRefused(t *testing.T) {
	c := measured("full")
	c.Measure.Layers = []string{"*.nothing"}
	must(t, c.Resolve(1))
	_, err := New(c, collective.Alone{}, tinySet(50), backend(t, "auto", 1))
	if e := new(config.Error); !errors.As(err, &e) || e.Keys[0] != "measure.layers" {
		t.Errorf("got %v", err)
	}
}
