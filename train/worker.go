package train

import (
	"math"
	"math/rand/v2"

	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/lora"
	"lte/model"
	"lte/nn"
	"lte/random"
)

// worker is one who trains alone between merges: a head with replicas of its own, or a copy of all weights. A rank has
// one, or one for each of its heads.
type worker struct {
	number   int          // of the head, or of the rank: its mini-batches are that share of every step's images
	heads    []*lora.Head // one; none: it trains weights
	noise    noise
	parts    []*part
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

// begin makes the source that of a worker's step: it does not know on which rank the worker is.
func (n noise) begin(seed uint64, step, number int) {
	if n.source != nil {
		n.source.Seed(random.Key(seed, "noise", uint64(step), uint64(number)))
	}
}

// part is a flat slice of what trains, and the optimizer that moves it.
type part struct {
	parameters
	optimizer
	rate float64 // its learning rate over the schedule's
}

// parameters are flat slices of what trains, and how its parts are treated.
type parameters struct {
	value, grad []float32
	spans       []span // cover value in order
}

// span is a stretch of the parameters that weight decay applies to, or not.
type span struct {
	from, to int
	decay    bool
}

// append adds a stretch behind the others.
func (p *parameters) append(length int, decay bool) {
	from := 0
	if last := len(p.spans) - 1; last >= 0 {
		if from = p.spans[last].to; p.spans[last].decay == decay {
			p.spans[last].to += length
			return
		}
	}
	p.spans = append(p.spans, span{from, from + length, decay})
}

func newPart(c config.Config, be compute.Backend, p parameters, rate float64) *part {
	return &part{parameters: p, optimizer: newOptimizer(c.Optimizer, be, p), rate: rate}
}

// newWeights makes the worker that trains all weights of the model as they lie.
func newWeights(c config.Config, be compute.Backend, m *model.Model, rank int) *worker {
	trained, grads := m.Train(func(string) bool { return true })
	p := parameters{value: m.Flat(), grad: grads}
	for _, q := range trained {
		p.append(len(q.Value), q.Decay)
	}
	return &worker{number: rank, noise: newNoise(c.Model), parts: []*part{newPart(c, be, p, 1)}}
}

// trained are the parameters of the model that train as they are, in the order in which a flat slice holds them.
func trained(m *model.Model) (all []model.Parameter) {
	for _, p := range m.Parameters() {
		if p.Grad != nil {
			all = append(all, p)
		}
	}
	return all
}

// replicas are a worker's own copy of parameters that train as they are beside its head. The gradients are the model's.
type replicas struct {
	trained []model.Parameter
	value   []float32 // one after another
}

// load makes the model compute with the worker's copy.
func (r *replicas) load() {
	if r == nil {
		return
	}
	at := 0
	for _, p := range r.trained {
		at += copy(p.Value, r.value[at:])
	}
}

// norm is the 2-norm of the gradient of all that the worker trains.
func (w *worker) norm(be compute.Backend) float64 {
	sum := 0.0
	for _, p := range w.parts {
		sum += be.SumSquares(p.grad)
	}
	return math.Sqrt(sum)
}

// move makes one step of the optimizers.
func (w *worker) move(lr, norm, limit float64) {
	for _, p := range w.parts {
		p.step(lr*p.rate, clip(norm, limit))
	}
}

// clearMoments forgets what the optimizer of the head, or of all weights, knows; it returns how many numbers that were
// not 0 it cleared.
func (w *worker) clearMoments() int { return w.parts[0].clear() }

// trained is how many numbers the worker moves.
func (w *worker) trained() int {
	n := 0
	for _, p := range w.parts {
		n += len(p.value)
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
