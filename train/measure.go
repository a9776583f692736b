package train

import (
	"fmt"
	"math"

	"lte/collective"
	"lte/config"
	"lte/data"
	"lte/measure"
	"lte/model"
	"lte/nn"
	"lte/record"

	"gonum.org/v1/gonum/blas/blas32"
)

// probe is what the paper's measurements over training need: of some layers, the effective rank and norm of the gradient at the merged
// weights and of W − W⁰, and the angles between the heads' updates.
type probe struct {
	layers  []*nn.Linear
	origins [][]float32 // W⁰ (out, in) of each
	images  data.Images // the mini-batch whose gradient is measured: always the same, in every method and on every rank
}

// newProbe returns nil if nothing is to be measured.
func newProbe(c config.Measure, set *data.Set, m *model.Model) (*probe, error) {
	if c.Every <= 0 {
		return nil, nil
	}
	p := allocateProbe(c, m)
	p.images = spread{set.Train, min(c.Images, set.Train.Len())}
	for i, l := range p.layers {
		l.W.CopyTo(p.origins[i])
	}
	if p.layers == nil {
		return nil, &config.Error{Keys: []string{"measure.layers"}, Problem: fmt.Sprintf(
			"measure.layers: %q match no layer; layers have names such as %q", c.Layers, m.Layers()[0].Name)}
	}
	return p, nil
}

// allocateProbe allocates W⁰ of the layers that are measured.
func allocateProbe(c config.Measure, m *model.Model) *probe {
	p := &probe{}
	for _, l := range m.Layers() {
		if matchAny(c.Layers, l.Name) {
			p.layers = append(p.layers, l)
			p.origins = append(p.origins, m.Allocator().Floats(l.W.Rows, l.W.Cols))
		}
	}
	return p
}

// spread is that many of the images, evenly spaced: image sets are sorted by class.
type spread struct {
	data.Images
	count int
}

func (s spread) at(i int) int                           { return i * s.Images.Len() / s.count }
func (s spread) Len() int                               { return s.count }
func (s spread) Label(i int) int                        { return s.Images.Label(s.at(i)) }
func (s spread) Picture(dst *data.Picture, i int) error { return s.Images.Picture(dst, s.at(i)) }

// measure records ranks, norms and angles of the merged weights W and of the heads. Every rank forms the whole gradient, which costs no
// message; the decompositions are divided among the ranks, layer by layer. Training continues as if it had not been called.
func (t *Trainer) measure(r *record.Record) error {
	gradients, err := t.mergedGradients()
	if err != nil {
		return err
	}
	var ranks, updates, cosines, distances mean
	var gradientSquares, updateSquares, weightSquares float64
	for i, l := range t.probe.layers {
		if i%t.meter.Size() != t.meter.Rank() {
			continue
		}
		t.activity.begin(evaluating, t.step) // decompositions of large layers take minutes
		ranks.add(measure.EffectiveRank(gradients[i]))
		gradientSquares += t.backend.SumSquares(gradients[i].Data)
		// The gradient's memory is free now: W − W⁰.
		moved := gradients[i]
		l.W.CopyTo(moved.Data)
		weightSquares += t.backend.SumSquares(moved.Data)
		for j, w := range t.probe.origins[i] {
			moved.Data[j] -= w
		}
		t.activity.begin(evaluating, t.step)
		updates.add(measure.EffectiveRank(moved))
		updateSquares += t.backend.SumSquares(moved.Data)
		var all []measure.Head
		for _, f := range t.algorithm.headFactors(l) {
			all = append(all, measure.NewHead(f.A, f.B))
		}
		cosine, distance := measure.Pairs(all)
		cosines.add(cosine)
		distances.add(distance)
	}
	means := []*mean{&ranks, &updates, &cosines, &distances}
	sums := []float64{gradientSquares, updateSquares, weightSquares}
	norms := []**float64{&r.GradientNorm, &r.UpdateNorm, &r.WeightNorm}
	for _, m := range means {
		sums = append(sums, m.sum, m.count)
	}
	if err := collective.Sum(t.meter.For(collective.Evaluation), sums); err != nil {
		return err
	}
	for i, to := range norms {
		norm := math.Sqrt(sums[i])
		*to = &norm
	}
	sums = sums[len(norms):]
	for i, to := range []**float64{&r.GradientRank, &r.UpdateRank, &r.Alignment, &r.Grassmann} {
		if sum, count := sums[2*i], sums[2*i+1]; count > 0 {
			value := sum / count
			*to = &value
		}
	}
	return nil
}

// mergedGradients returns ∂L/∂W of the probe's layers at W: of the mean training loss over its images, which are
// neither augmented nor mixed, without dropout.
func (t *Trainer) mergedGradients() (gradients []blas32.General, err error) {
	gradients = t.model.Gradients(t.probe.layers, func() {
		images := t.probe.images
		err = data.EachBatch(t.set, images, t.config.Train.EvalBatch, 0, 1, func(b *data.Batch) error {
			t.activity.begin(evaluating, t.step)
			logits := t.model.Forward(b.Images)
			t.task.Loss(logits, logits, b, images.Len())
			t.model.Backward(logits)
			return nil
		})
	})
	return gradients, err
}

// mean is the mean of values other than NaN.
type mean struct{ sum, count float64 }

func (m *mean) add(x float64) {
	if !math.IsNaN(x) {
		m.sum, m.count = m.sum+x, m.count+1
	}
}
