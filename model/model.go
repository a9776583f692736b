// Package model holds networks as explicit forward and backward passes: the vision transformer after torchvision's
// VisionTransformer (Dosovitskiy et al., arXiv 2010.11929), the MLP-Mixer after timm's (Tolstikhin et al., arXiv
// 2105.01601), the LoRA heads that their linear layers can carry (Huh et al., arXiv 2402.16828), and the loss. It leaves
// arithmetic to package compute, and what is done with gradients to train.
//
// Parameters have torchvision's (timm's) names, shapes and order. A model's passes use buffers that it owns: one
// goroutine.
package model

import (
	"fmt"
	"math/rand/v2"

	"lte/compute"

	"gonum.org/v1/gonum/blas/blas32"
)

// Config is the shape of a model.
type Config struct {
	ImageHeight, ImageWidth, Channels, Classes int

	Kind                     string // "vit" or "mixer"
	Patch, Depth, Width, MLP int
	Heads                    int    // vit: attention heads
	Positions                string // vit: "learned" or "sincos"
	TokenMLP                 int    // mixer
	NormAffine               bool

	// Of training passes, each from 0 to below 1.
	Dropout  float64 // the rate of numbers dropped behind GELU, behind every branch and, in a vit, behind the positions
	DropPath float64 // the rate of images that pass the last block's branches by; it grows linearly from 0 at the first block

	Batch int // the largest batch of a pass
}

func (c Config) images(n int) compute.ImageShape {
	return compute.ImageShape{Images: n, Channels: c.Channels, Height: c.ImageHeight, Width: c.ImageWidth, Patch: c.Patch}
}

func (c Config) patches() int { return c.images(1).Patches() }

// Check returns an error where no model of that shape can be.
func (c Config) Check() error {
	switch {
	case c.Patch > c.ImageHeight || c.Patch > c.ImageWidth:
		return fmt.Errorf("model.patch = %d is larger than the images, which are %d×%d: choose a patch that divides both sides", c.Patch, c.ImageHeight, c.ImageWidth)
	case c.ImageHeight%c.Patch != 0 || c.ImageWidth%c.Patch != 0:
		return fmt.Errorf("model.patch = %d does not divide the images, which are %d×%d", c.Patch, c.ImageHeight, c.ImageWidth)
	case c.Kind != "vit":
		return nil
	case c.Width%c.Heads != 0:
		return fmt.Errorf("model.width = %d is not a multiple of model.heads = %d", c.Width, c.Heads)
	case c.Positions == "sincos" && c.Width%4 != 0:
		return fmt.Errorf("model.width = %d is not a multiple of 4, which model.positions = \"sincos\" needs", c.Width)
	}
	return nil
}

// Model is a network and all its parameters.
type Model struct {
	config  Config
	backend compute.Backend
	network network
	layers  []*Linear // all linear layers, input to output
	norms   []*norm   // likewise

	weights    []float32 // (total): all parameters flat, those that never train last
	total      int
	trainable  int               // how many can train
	parameters []Parameter       // in the library's order
	lay        []func([]float32) // a parameter each: gives it its memory
	using      [][]*Adapter      // a layer each: the adapters in use
	batch      int               // of the last forward pass
	drop       dropout
}

// network is a kind of model.
type network interface {
	// build registers parameters and layers, in the library's order and from input to output.
	build(b *builder)
	// initialise draws the parameters, which are 0.
	initialise(rng *rand.Rand)
	// allocate makes the buffers of passes with up to that many images.
	allocate(batch int)
	// room counts what allocate makes.
	room(r *room, batch float64)
	// attention is the operations of attention's products, forward and backward, for one image.
	attention() float64
	// forward returns the logits (n, classes) of n images, valid until the next call.
	forward(images []float32, n int) blas32.General
	// backward adds the gradients of what trains, from dlogits (n, classes) of the last forward.
	backward(dlogits blas32.General, n int)
}

// New builds a model and draws its weights from rng.
func New(c Config, backend compute.Backend, rng *rand.Rand) (*Model, error) {
	b, err := build(c, backend)
	if err != nil {
		return nil, err
	}
	m := b.model
	b.allocate()
	if d := backend.DType(); d != compute.Float32 {
		for _, l := range m.layers {
			l.own = compute.NewOperand(d, l.W.Rows, l.W.Cols)
		}
	}
	m.network.initialise(rng)
	m.Reserve(c.Batch)
	m.UseMerged()
	return m, nil
}

// Outline is a model of that shape without memory: its parameters have names and shapes, its layers sizes, and both are all
// that it is for.
func Outline(c Config) (*Model, error) {
	b, err := build(c, nil)
	if err != nil {
		return nil, err
	}
	return b.model, nil
}

// build makes a network and registers what it consists of.
func build(c Config, backend compute.Backend) (*builder, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	m := &Model{config: c, backend: backend}
	m.drop = dropout{rate: c.Dropout, path: c.DropPath, backend: backend}
	switch c.Kind {
	case "vit":
		m.network = &vit{config: c, backend: backend, drop: &m.drop}
	case "mixer":
		m.network = &mixer{config: c, backend: backend, drop: &m.drop}
	default:
		return nil, fmt.Errorf("model.kind = %q is not known: expected vit or mixer", c.Kind)
	}
	b := &builder{model: m}
	m.network.build(b)
	b.layOut()
	m.using = make([][]*Adapter, len(m.layers))
	return b, nil
}

// Reserve makes room for passes of up to that many images.
func (m *Model) Reserve(batch int) {
	m.config.Batch = batch
	m.network.allocate(batch)
}

// Layers returns all linear layers, input to output.
func (m *Model) Layers() []*Linear { return m.layers }

// UseMerged makes passes read the main weights W, as evaluation does.
func (m *Model) UseMerged() {
	for _, l := range m.layers {
		l.use(nil)
	}
}

// Forward returns the logits (batch, classes) of images (batch, channels, height, width). They are valid until the
// next call.
func (m *Model) Forward(images []float32) blas32.General {
	m.setBatch(images)
	m.drop.noise = m.drop.noise[:0]
	return m.network.forward(images, m.batch)
}

// ForwardTraining is Forward with dropout and stochastic depth, whose masks noise draws: of several heads in one pass
// each for an equal share of the images, in order. Where both rates are 0 it is Forward, and draws nothing.
func (m *Model) ForwardTraining(images []float32, noise ...*Noise) blas32.General {
	m.setBatch(images)
	m.drop.use(noise, m.batch)
	return m.network.forward(images, m.batch)
}

func (m *Model) setBatch(images []float32) {
	c := m.config
	m.batch = len(images) / (c.Channels * c.ImageHeight * c.ImageWidth)
	if m.batch > c.Batch {
		panic("model: batch larger than the model's buffers")
	}
}

// Backward adds the gradients of what trains, from dlogits (batch, classes) of the last forward pass, with its masks.
func (m *Model) Backward(dlogits blas32.General) { m.network.backward(dlogits, m.batch) }

// ZeroGrad makes the next backward pass begin its gradients anew; those of the linear layers are replaced as they are
// formed, so only the rest is cleared.
func (m *Model) ZeroGrad() {
	for _, p := range m.parameters {
		if !p.Decay {
			clear(p.Grad)
		}
	}
	for _, l := range m.layers {
		l.fresh = true
	}
}
