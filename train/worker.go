package train

import (
	"math"
	"math/rand/v2"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/lora"
	"lte/model"
	"lte/nn"
	"lte/random"
)

// worker is what trains alone between merges: a head with replicas of its own, or all weights. A rank has one, or one for each of its
// heads.
type worker struct {
	number   int          // of the head, or of the rank: its mini-batches are that share of every step's images
	heads    []*lora.Head // one; none: it trains weights
	noise    noise
	groups   []*paramGroup
	replicas *replicas // nil: none
}

// noise is a worker's source of masks for dropout and stochastic depth.
type noise struct {
	source *rand.ChaCha8
	masks  []*nn.Noise // of source, as passes take it; none where nothing is dropped
}

func newNoise(c config.Model) (n noise) {
	if c.Dropout > 0 || c.DropPath > 0 {
		n.source = rand.NewChaCha8([32]byte{})
		n.masks = []*nn.Noise{nn.NewNoise(n.source)}
	}
	return n
}

// begin seeds the source for a step of a worker, wherever the worker is.
func (n noise) begin(seed uint64, step, number int) {
	if n.source != nil {
		n.source.Seed(random.Key(seed, "noise", uint64(step), uint64(number)))
	}
}

// paramGroup is parameters and their optimizer, as in PyTorch.
type paramGroup struct {
	parameters
	optimizer
	rate float64 // its learning rate relative to the schedule's
}

// parameters are flat slices of what trains.
type parameters struct {
	value, grad []float32
	spans       []span // cover value in order
}

// span is one parameter.
type span struct {
	from, to int
	decay    bool // weight decay applies
	columns  int  // of a matrix of a hidden layer; 0 of a vector, a token, or the classifier's matrix

	elsewhere bool // another rank of the node updates it (divided)
}

func (s span) length() int { return s.to - s.from }
func (s span) rows() int   { return s.length() / s.columns }

// length is the number of values in the spans.
func (p parameters) length() (n int) {
	for _, s := range p.spans {
		n += s.length()
	}
	return n
}

// append adds a parameter, unless it is empty, after the others.
func (p *parameters) append(length int, decay bool, columns int) {
	if length == 0 {
		return
	}
	from := 0
	if n := len(p.spans); n > 0 {
		from = p.spans[n-1].to
	}
	p.spans = append(p.spans, span{from: from, to: from + length, decay: decay, columns: columns})
}

func newParamGroup(c config.Config, be compute.Backend, alloc compute.Allocator, p parameters, rate float64) *paramGroup {
	return &paramGroup{parameters: p, optimizer: newOptimizer(c.Optimizer, be, alloc, p), rate: rate}
}

// newWeights makes the worker of a rank of the group that trains all weights of the model in place.
func newWeights(c config.Config, be compute.Backend, m *model.Model, g collective.Group) *worker {
	trained, grads := m.Train(func(string) bool { return true })
	p := parameters{value: m.Flat(), grad: grads}
	for _, q := range trained {
		p.append(q.Len(), q.Decay, hiddenColumns(m, q))
	}
	if divides(c) {
		mark(p.spans, g.NodeRank(), g.NodeSize())
	}
	return &worker{number: g.Rank(), noise: newNoise(c.Model), groups: []*paramGroup{newParamGroup(c, be, m.Allocator(), p, 1)}}
}

// norm is the 2-norm of the gradient of all that the worker trains.
func (w *worker) norm(be compute.Backend) float64 {
	sum := 0.0
	for _, p := range w.groups {
		sum += be.SumSquares(p.grad)
	}
	return math.Sqrt(sum)
}

// update makes one step of the optimizers.
func (w *worker) update(lr, norm, limit float64) {
	for _, p := range w.groups {
		p.step(lr*p.rate, clip(norm, limit))
	}
}

// clearMoments clears the moments of the head, or of all weights; it returns how many nonzero values it cleared.
func (w *worker) clearMoments() int { return w.groups[0].clear() }

// trained is the number of values that the worker trains.
func (w *worker) trained() int {
	n := 0
	for _, p := range w.groups {
		n += p.length()
	}
	return n
}

// cut returns the i-th of n equal parts of a batch.
func cut(b *data.Batch, i, n int) *data.Batch {
	images, pixels := len(b.Labels)/n, len(b.Images)/len(b.Labels)
	from, to := i*images, (i+1)*images
	c := &data.Batch{Images: b.Images[from*pixels : to*pixels], Labels: b.Labels[from:to]}
	if b.Others != nil {
		c.Others, c.Lambda = b.Others[from:to], b.Lambda[from:to]
	}
	return c
}
