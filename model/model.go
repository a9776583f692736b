// Package model holds networks as explicit forward and backward passes: the vision transformer after torchvision's VisionTransformer
// (Dosovitskiy et al., arXiv 2010.11929) and the MLP-Mixer after timm's (Tolstikhin et al., arXiv 2105.01601). Their layers are package
// nn's, the heads that their linear layers can carry lora's; what is done with gradients is left to train.
//
// Parameters have torchvision's (timm's) names, shapes and order. A model's passes use buffers that it owns: one goroutine.
package model

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"strings"

	"lte/compute"
	"lte/family"
	"lte/lora"
	"lte/nn"

	"gonum.org/v1/gonum/blas/blas32"
)

// Config is the shape of a model.
type Config struct {
	ImageHeight, ImageWidth, Channels, Classes int

	Kind                     string // of package family's table
	Patch, Depth, Width, MLP int
	Heads                    int    // vit: attention heads
	Positions                string // vit: "learned" or "sincos"
	TokenMLP                 int    // mixer
	NormAffine               bool
	Format                   compute.Format // of the linear layers' weights; "": FP32

	// Of training passes, each from 0 to below 1.
	Dropout  float64 // the rate of elements dropped behind GELU, behind every branch and, in a vit, behind the positions
	DropPath float64 // the rate of images that skip the branches of the last block (drop-path rate); it grows linearly from 0 at the first block

	Batch int // the largest batch of a pass
}

func (c Config) images(n int) compute.ImageShape {
	return compute.ImageShape{Images: n, Channels: c.Channels, Height: c.ImageHeight, Width: c.ImageWidth, Patch: c.Patch}
}

func (c Config) patches() int { return c.images(1).Patches() }

// Check returns an error where no model of that shape can be.
func (c Config) Check() error {
	f, ok := families[c.Kind]
	switch {
	case !ok:
		return fmt.Errorf("model.kind = %q is not known: expected %s", c.Kind, strings.Join(family.Kinds(), " or "))
	case c.Patch > c.ImageHeight || c.Patch > c.ImageWidth:
		return fmt.Errorf("model.patch = %d is larger than the images, which are %d×%d: choose a patch that divides both sides", c.Patch, c.ImageHeight, c.ImageWidth)
	case c.ImageHeight%c.Patch != 0 || c.ImageWidth%c.Patch != 0:
		return fmt.Errorf("model.patch = %d does not divide the images, which are %d×%d", c.Patch, c.ImageHeight, c.ImageWidth)
	case f.check == nil:
		return nil
	}
	return f.check(c)
}

// Model is a network and all its parameters.
type Model struct {
	config  Config
	backend compute.Backend
	alloc   compute.Allocator
	network network
	drop    nn.Dropout
	batch   int // of the last forward pass

	layers []*nn.Linear    // all linear layers, input to output
	norms  []*nn.LayerNorm // likewise
	first  map[any]int     // index of a layer's W or a norm's γ among the parameters; b or β follows

	parameters []Parameter // in the library's order
	storage    []byte      // of all parameters, those that never train last
	fixedAt    int         // where those that never train begin
}

// families has the networks of every kind in package family's table.
var families = map[string]networks{
	"vit":   {build: newViT, check: checkViT},
	"mixer": {build: newMixer},
}

// networks are those of a family.
type networks struct {
	// build registers a network's parameters and layers, in the library's order and from input to output.
	build func(m *Model) network
	// check returns an error where no network of that shape can be; nil: any of a patch that fits the images can.
	check func(c Config) error
}

// network is a model's passes.
type network interface {
	// initialise draws the parameters, which are 0.
	initialise(rng *rand.Rand)
	// allocate makes the buffers of passes with up to that many images. Their sizes are proportional to it.
	allocate(alloc compute.Allocator, batch int)
	// attentionFLOPs is that of attention's products, forward and backward, for one image.
	attentionFLOPs() float64
	// forward returns the logits (n, classes) of n images, valid until the next call.
	forward(images []float32, n int) blas32.General
	// backward adds the gradients of what trains, from dlogits (n, classes) of the last forward.
	backward(dlogits blas32.General, n int)
}

// activations are the buffers that the passes of both families have beside those of their layers and blocks.
type activations struct {
	patch   compute.Operand // (batch·patches, channels·patch·patch)
	x, dx   blas32.General  // (batch·tokens, width): the residual stream and its gradient
	logits  blas32.General  // (batch, classes)
	dlogits compute.Operand // (batch, classes): where products do not read float32
}

func newActivations(alloc compute.Allocator, c Config, batch, tokens int) activations {
	a := activations{patch: alloc.Operand(batch*c.patches(), c.Channels*c.Patch*c.Patch), x: alloc.Matrix(batch*tokens, c.Width),
		dx: alloc.Matrix(batch*tokens, c.Width), logits: alloc.Matrix(batch, c.Classes)}
	if alloc.Rounds() {
		a.dlogits = alloc.Operand(batch, c.Classes)
	}
	return a
}

// New builds a model and draws its weights from rng.
func New(c Config, backend compute.Backend, rng *rand.Rand) (*Model, error) {
	m, err := Allocate(c, backend, compute.Heap(backend.DType()))
	if err != nil {
		return nil, err
	}
	for _, n := range m.norms {
		for i := range n.Gamma {
			n.Gamma[i] = 1
		}
	}
	m.network.initialise(rng)
	return m, nil
}

// Allocate builds a model whose parameters are 0. Its parameters have names and shapes, its layers sizes, with an allocator that only
// counts too; backend may then be nil.
func Allocate(c Config, backend compute.Backend, alloc compute.Allocator) (*Model, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	c.Format = cmp.Or(c.Format, compute.FP32)
	m := &Model{config: c, backend: backend, alloc: alloc, drop: nn.NewDropout(c.Dropout, c.DropPath, backend), first: map[any]int{}}
	m.network = families[c.Kind].build(m)
	m.assignOffsets()
	m.SetStorage(alloc.Bytes(m.StorageBytes()))
	for _, l := range m.layers {
		if l.W.Format().Converts(alloc.DType()) {
			l.ReserveWeight(alloc)
		}
	}
	m.Reserve(c.Batch)
	return m, nil
}

// Allocator returns the allocator of the model's buffers: memory of the training state of a model that only counts is counted with it.
func (m *Model) Allocator() compute.Allocator { return m.alloc }

// Reserve allocates the buffers of passes of up to that many images.
func (m *Model) Reserve(batch int) {
	m.config.Batch = batch
	m.network.allocate(m.alloc.For(compute.PassMemory), batch)
}

// Layers returns all linear layers, input to output.
func (m *Model) Layers() []*nn.Linear { return m.layers }

// Layout lays out heads of that kind over the model's linear layers; of the model's largest batch where c says no number of images.
func (m *Model) Layout(c lora.Config) (*lora.Layout, error) {
	c.Images = cmp.Or(c.Images, m.config.Batch)
	return lora.NewLayout(m.layers, m.backend, m.alloc, c)
}

// UseMerged makes passes read the main weights W, as evaluation does.
func (m *Model) UseMerged() {
	for _, l := range m.layers {
		l.Use()
	}
}

// Classifier is the layer whose outputs are the classes' logits, the last.
func (m *Model) Classifier() *nn.Linear { return m.layers[len(m.layers)-1] }

// UseLocal makes passes compute with the effective weights of a head, or of several, all Factored and of RecomputedBase or OriginBase, each
// for an equal share of the images. It is called again when factors have changed.
func (m *Model) UseLocal(heads ...*lora.Head) {
	for _, l := range m.layers {
		adapters := l.Adapters()[:0]
		for _, h := range heads {
			if a := h.Adapter(l); a != nil {
				adapters = append(adapters, a)
			}
		}
		l.Use(adapters...)
	}
}

// Forward returns the logits (batch, classes) of images (batch, channels, height, width). They are valid until the next call.
func (m *Model) Forward(images []float32) blas32.General {
	m.setBatch(images)
	m.drop.Off()
	return m.network.forward(images, m.batch)
}

// ForwardTraining is Forward with dropout and stochastic depth, whose masks noise draws: of several heads in one pass
// each for an equal share of the images, in order. Where both rates are 0 it is Forward, and draws nothing.
func (m *Model) ForwardTraining(images []float32, noise ...*nn.Noise) blas32.General {
	m.setBatch(images)
	m.drop.Use(noise, m.batch)
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
		l.ZeroGrad()
	}
}
