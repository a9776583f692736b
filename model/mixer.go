package model

import (
	"math"
	"math/rand/v2"

	"lte/compute"
	"lte/nn"

	"gonum.org/v1/gonum/blas/blas32"
)

// mixer is an MLP-Mixer (Tolstikhin et al., arXiv 2105.01601) as timm's MlpMixer: patch embedding, blocks, LayerNorm,
// the mean over an image's tokens, and a classifier on it.
type mixer struct {
	model  *Model
	embed  *nn.Linear // on patches (channel, row, column): timm's stem.proj
	blocks []*mixerBlock
	ln     *nn.LayerNorm
	head   *nn.Linear

	activations
	work        mixerWork
	mean, dmean blas32.General  // (batch, width): of an image's tokens
	pooled      compute.Operand // (batch, width): what the classifier reads of mean; mean's memory in float32
}

func newMixer(model *Model) network {
	c := model.config
	t := c.patches()
	m := &mixer{model: model}
	m.embed = model.linear("stem.proj", c.Width, c.Channels*c.Patch*c.Patch, t, c.Width, c.Channels, c.Patch, c.Patch)
	for i := range c.Depth {
		m.blocks = append(m.blocks, model.mixerBlock(i))
	}
	m.ln = model.norm("norm")
	m.head = model.linear("head", c.Classes, c.Width, 1)
	m.embed.DataSized, m.head.DataSized = true, true
	return m
}

func (m *mixer) allocate(alloc compute.Allocator, batch int) {
	c := m.model.config
	rows := batch * c.patches()
	m.activations = newActivations(alloc, c, batch, c.patches())
	m.mean, m.dmean = alloc.Matrix(batch, c.Width), alloc.Matrix(batch, c.Width)
	m.pooled = compute.F32(m.mean)
	m.work = newMixerWork(alloc, batch, c)
	for _, b := range m.blocks {
		b.allocate(alloc, batch, &m.work)
	}
	m.ln.AllocateInto(alloc, m.work.normed, rows, c.Width)
	m.model.drop.Allocate(alloc, rows, c.Width, max(rows*c.MLP, batch*c.Width*c.TokenMLP))
	if alloc.Rounds() {
		m.pooled = alloc.Operand(batch, c.Width)
	}
}

func (m *mixer) forward(images []float32, n int) blas32.General {
	c, be := m.model.config, m.model.backend
	t := c.patches()
	x, mean, logits := compute.First(m.x, n*t), compute.First(m.mean, n), compute.First(m.logits, n)
	be.Patches(m.patch.First(n*t), images, c.images(n))
	m.embed.Forward(compute.F32(x), m.patch.First(n*t), 0)
	for _, b := range m.blocks {
		b.forward(x, n, &m.work)
	}
	normed := m.ln.Forward(x)
	clear(mean.Data)
	for i := range n {
		be.SumRows(mean.Data[i*c.Width:(i+1)*c.Width], normed.Range(i*t, (i+1)*t))
	}
	scale(mean, 1/float32(t))
	m.head.Forward(compute.F32(logits), compute.AsOperand(be, m.pooled, mean), 0)
	return logits
}

func (m *mixer) backward(dlogits blas32.General, n int) {
	c, be := m.model.config, m.model.backend
	t := c.patches()
	dx, dmean, dnorm := compute.First(m.dx, n*t), compute.First(m.dmean, n), compute.First(m.work.branch, n*t)
	m.head.Backward(compute.F32(dmean), compute.AsOperand(be, m.dlogits, dlogits), m.pooled.First(n))
	// mean = Σ_t normed_t/tokens: every token has the same share.
	scale(dmean, 1/float32(t))
	for i := range n * t {
		copy(dnorm.Data[i*c.Width:(i+1)*c.Width], dmean.Data[i/t*c.Width:])
	}
	clear(dx.Data)
	m.ln.Backward(dx, compute.F32(dnorm))
	for i := len(m.blocks) - 1; i >= 0; i-- {
		m.blocks[i].backward(dx, n, &m.work)
	}
	m.embed.Backward(compute.Operand{}, compute.AsOperand(be, m.work.dx, dx), m.patch.First(n*t))
}

func scale(x blas32.General, by float32) {
	blas32.Scal(by, blas32.Vector{N: len(x.Data), Inc: 1, Data: x.Data})
}

// initialise draws the weights as timm's MlpMixer starts, by its _init_weights as it is called (flax and nlhb False):
//
//	stem.proj.weight            LeCun normal: cut at two of its σ, which is √(1/fan_in) after the cut
//	mlp_tokens, mlp_channels    fc1, fc2: Xavier uniform; biases normal, σ = 1e-6
//	head                        0
//	stem.proj.bias              0
//	LayerNorm                   scale 1, shift 0
func (m *mixer) initialise(rng *rand.Rand) {
	const cut = .87962566103423978 // the σ of a standard normal cut at ±2
	sigma := math.Sqrt(1/float64(m.embed.W.Cols)) / cut
	m.embed.W.Update(func(x []float32) { nn.TruncatedNormal(x, sigma, 2*sigma, rng) })
	for _, b := range m.blocks {
		b.tokens.Init(rng)
		b.channels.Init(rng)
	}
}

func (*mixer) attentionFLOPs() float64 { return 0 }
