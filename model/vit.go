// Package model holds networks as explicit forward and backward passes: the vision transformer after torchvision's
// VisionTransformer (Dosovitskiy et al., arXiv 2010.11929), the LoRA head that its linear layers can carry (Huh et al.,
// arXiv 2402.16828), and the loss. It leaves arithmetic to package compute, and what is done with gradients to train.
//
// Parameters have torchvision's names, shapes and order. A model's passes use buffers that it owns: one goroutine.
package model

import (
	"fmt"
	"math/rand/v2"

	"lte/compute"

	"gonum.org/v1/gonum/blas/blas32"
)

// Config is the shape of a vision transformer.
type Config struct {
	ImageHeight, ImageWidth, Channels, Classes int

	Patch, Depth, Width, MLP, Heads int
	Positions                       string // "learned" or "sincos"
	NormAffine                      bool

	Batch int // the largest batch of a pass
}

func (c Config) patches() int { return c.images(1).Patches() }
func (c Config) tokens() int  { return 1 + c.patches() }

// Check returns an error where no model of that shape can be.
func (c Config) Check() error {
	switch {
	case c.Patch > c.ImageHeight || c.Patch > c.ImageWidth:
		return fmt.Errorf("model.patch = %d is larger than the images, which are %d×%d: choose a patch that divides both sides", c.Patch, c.ImageHeight, c.ImageWidth)
	case c.ImageHeight%c.Patch != 0 || c.ImageWidth%c.Patch != 0:
		return fmt.Errorf("model.patch = %d does not divide the images, which are %d×%d", c.Patch, c.ImageHeight, c.ImageWidth)
	case c.Width%c.Heads != 0:
		return fmt.Errorf("model.width = %d is not a multiple of model.heads = %d", c.Width, c.Heads)
	case c.Positions == "sincos" && c.Width%4 != 0:
		return fmt.Errorf("model.width = %d is not a multiple of 4, which model.positions = \"sincos\" needs", c.Width)
	}
	return nil
}

// Parameter is a named weight of the model, as torchvision exports it.
type Parameter struct {
	Name  string
	Shape []int
	Value []float32
	Grad  []float32 // nil unless it trains
	Decay bool      // a matrix of a linear layer: weight decay applies

	fixed  bool // never trains
	offset int  // in Flat
}

// ViT is a vision transformer: patch embedding, class token, positions, blocks, LayerNorm, and a classifier on the
// class token.
type ViT struct {
	config     Config
	embed      *Linear // on patches (channel, row, column): torchvision's conv_proj
	classToken []float32
	positions  []float32 // (tokens, width)
	blocks     []*block
	ln         *norm
	head       *Linear
	layers     []*Linear // all linear layers, input to output
	backend    compute.Backend

	weights, grads []float32 // all parameters flat, those that never train last; grads (trainable), nil unless they train
	trainable      int
	parameters     []Parameter // in torchvision's order

	work     work
	patch    compute.Operand // (batch·patches, channels·patch·patch)
	embedded blas32.General  // (batch·patches, width)
	x, dx    blas32.General  // (batch·tokens, width)
	dclass   compute.Operand // (batch, width)
	logits   blas32.General  // (batch, classes)
	dlogits  compute.Operand // (batch, classes): where products do not read float32
	batch    int             // of the last forward pass
}

// NewViT builds a model and draws its weights from rng.
func NewViT(c Config, backend compute.Backend, rng *rand.Rand) (*ViT, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	v := &ViT{config: c, backend: backend}
	v.build()
	v.allocate()
	v.initialise(rng)
	v.UseMerged()
	return v, nil
}

// build lays all parameters into one flat slice and makes the layers views of it.
func (v *ViT) build() {
	c := v.config
	type slot struct {
		name  string
		shape []int
		set   func([]float32)
		decay bool
		fixed bool
	}
	var slots []slot
	add := func(name string, decay bool, set func([]float32), shape ...int) {
		slots = append(slots, slot{name: name, shape: shape, set: set, decay: decay})
	}
	addFixed := func(fixed bool, name string, set func([]float32), shape ...int) {
		slots = append(slots, slot{name: name, shape: shape, set: set, fixed: fixed})
	}
	linear := func(name, weight, bias string, out, in int, shape ...int) *Linear {
		l := &Linear{Name: name, index: len(slots), backend: v.backend}
		if shape == nil {
			shape = []int{out, in}
		}
		add(weight, true, func(x []float32) { l.W = compute.Matrix(out, in, x) }, shape...)
		add(bias, false, func(x []float32) { l.B = x }, out)
		return l
	}
	dotted := func(name string, out, in int, shape ...int) *Linear {
		return linear(name, name+".weight", name+".bias", out, in, shape...)
	}
	newNorm := func(name string) *norm {
		n := &norm{index: len(slots), affine: c.NormAffine, backend: v.backend}
		addFixed(!c.NormAffine, name+".weight", func(x []float32) { n.gamma = x }, c.Width)
		addFixed(!c.NormAffine, name+".bias", func(x []float32) { n.beta = x }, c.Width)
		return n
	}

	add("class_token", false, func(x []float32) { v.classToken = x }, 1, 1, c.Width)
	v.embed = dotted("conv_proj", c.Width, c.Channels*c.Patch*c.Patch, c.Width, c.Channels, c.Patch, c.Patch)
	v.layers = append(v.layers, v.embed)
	addFixed(c.Positions == "sincos", "encoder.pos_embedding", func(x []float32) { v.positions = x }, 1, c.tokens(), c.Width)
	for i := range c.Depth {
		at := fmt.Sprintf("encoder.layers.encoder_layer_%d.", i)
		b := &block{heads: c.Heads, last: i == c.Depth-1, backend: v.backend}
		b.ln1 = newNorm(at + "ln_1")
		in := at + "self_attention.in_proj"
		b.qkv = linear(in, in+"_weight", in+"_bias", 3*c.Width, c.Width)
		b.proj = dotted(at+"self_attention.out_proj", c.Width, c.Width)
		b.ln2 = newNorm(at + "ln_2")
		b.fc1 = dotted(at+"mlp.0", c.MLP, c.Width)
		b.fc2 = dotted(at+"mlp.3", c.Width, c.MLP)
		v.blocks = append(v.blocks, b)
		v.layers = append(v.layers, b.qkv, b.proj, b.fc1, b.fc2)
	}
	v.ln = newNorm("encoder.ln")
	v.head = dotted("heads.head", c.Classes, c.Width)
	v.layers = append(v.layers, v.head)

	total := 0
	for _, s := range slots {
		total += product(s.shape)
		if !s.fixed {
			v.trainable += product(s.shape)
		}
	}
	v.weights = make([]float32, total)
	at, fixedAt := 0, v.trainable
	for _, s := range slots {
		next := &at
		if s.fixed {
			next = &fixedAt
		}
		from := *next
		*next += product(s.shape)
		value := v.weights[from:*next]
		s.set(value)
		v.parameters = append(v.parameters, Parameter{Name: s.name, Shape: s.shape, Value: value, Decay: s.decay,
			fixed: s.fixed, offset: from})
	}
}

func product(shape []int) int {
	n := 1
	for _, s := range shape {
		n *= s
	}
	return n
}

func (v *ViT) norms() []*norm {
	var all []*norm
	for _, b := range v.blocks {
		all = append(all, b.ln1, b.ln2)
	}
	return append(all, v.ln)
}

// allocate makes the buffers of passes with up to config.Batch images.
func (v *ViT) allocate() {
	c := v.config
	rows, d := c.Batch*c.tokens(), v.backend.DType()
	v.patch = compute.NewOperand(d, c.Batch*c.patches(), v.embed.W.Cols)
	v.embedded = compute.NewMatrix(c.Batch*c.patches(), c.Width)
	v.x, v.dx = compute.NewMatrix(rows, c.Width), compute.NewMatrix(rows, c.Width)
	v.dclass, v.logits = compute.NewOperand(d, c.Batch, c.Width), compute.NewMatrix(c.Batch, c.Classes)
	v.work = newWork(d, rows, c.Width, c.MLP)
	for _, b := range v.blocks {
		b.allocate(c.Batch, c.tokens(), c.Width, c.MLP)
	}
	v.ln.allocate(c.Batch, c.Width)
	if d != compute.Float32 {
		v.dlogits = compute.NewOperand(d, c.Batch, c.Classes)
		for _, l := range v.layers {
			l.own = compute.NewOperand(d, l.W.Rows, l.W.Cols)
		}
	}
}

// Layers returns all linear layers, input to output.
func (v *ViT) Layers() []*Linear { return v.layers }

// Parameters returns all parameters in torchvision's order, LayerNorm's ones and zeros too where it has no affine.
func (v *ViT) Parameters() []Parameter { return v.parameters }

// Flat returns the parameters that can train as one slice, and their gradients, which are nil before TrainWeights. What
// never trains is left out: fixed sinusoids, and the ones and zeros of a LayerNorm without affine.
func (v *ViT) Flat() (weights, grads []float32) { return v.weights[:v.trainable], v.grads }

// TrainWeights makes backward passes add up the gradients of all parameters that can train.
func (v *ViT) TrainWeights() {
	v.grads = make([]float32, v.trainable)
	for i := range v.parameters {
		p := &v.parameters[i]
		if p.fixed {
			continue
		}
		p.Grad = v.grads[p.offset : p.offset+len(p.Value)]
	}
	for _, l := range v.layers {
		l.GradW = compute.Matrix(l.W.Rows, l.W.Cols, v.parameters[l.index].Grad)
		l.GradB = v.parameters[l.index+1].Grad
	}
	for _, n := range v.norms() { // nil without affine
		n.gradGamma, n.gradBeta = v.parameters[n.index].Grad, v.parameters[n.index+1].Grad
	}
}

// ZeroGrad makes the next backward pass begin its gradients anew; those of the linear layers are replaced as they are
// formed, so only the rest is cleared.
func (v *ViT) ZeroGrad() {
	for _, p := range v.parameters {
		if !p.Decay {
			clear(p.Grad)
		}
	}
	for _, l := range v.layers {
		l.fresh = true
	}
}

// UseLocal makes passes read every layer's effective weight, which the next forward pass forms of the head's factors;
// UseMerged makes them read the main weights, as evaluation does. Either is called again when weights or factors have
// changed.
func (v *ViT) UseLocal() {
	for _, l := range v.layers {
		l.use(true)
	}
}

// UseMerged makes passes read the main weights W.
func (v *ViT) UseMerged() {
	for _, l := range v.layers {
		l.use(false)
	}
}

// Rebase is called when W, A' or B' have changed: it forms W − s·B'A' of every layer that carries an adapter.
func (v *ViT) Rebase() {
	for _, l := range v.layers {
		if l.adapter != nil {
			l.adapter.rebase(l.W)
		}
	}
}

func (c Config) images(n int) compute.ImageShape {
	return compute.ImageShape{Images: n, Channels: c.Channels, Height: c.ImageHeight, Width: c.ImageWidth, Patch: c.Patch}
}

// Forward returns the logits (batch, classes) of images (batch, channels, height, width). They are valid until the
// next call.
func (v *ViT) Forward(images []float32) blas32.General {
	c := v.config
	v.batch = len(images) / (c.Channels * c.ImageHeight * c.ImageWidth)
	if v.batch > c.Batch {
		panic("model: batch larger than the model's buffers")
	}
	n, p, t, w := v.batch, c.patches(), c.tokens(), c.Width
	patch, embedded, x := v.patch.First(n*p), compute.First(v.embedded, n*p), compute.First(v.x, n*t)
	v.backend.Patches(patch, images, c.images(n))
	v.embed.Forward(compute.F32(embedded), patch, 0)
	for i := range n {
		row := x.Data[i*t*w:]
		copy(row[:w], v.classToken)
		copy(row[w:t*w], embedded.Data[i*p*w:])
		v.backend.Add(row[:t*w], v.positions)
	}
	for _, b := range v.blocks {
		b.forward(x, n, t)
	}
	// LayerNorm and classifier read the class tokens alone.
	logits := compute.First(v.logits, n)
	v.head.Forward(compute.F32(logits), v.ln.forward(compute.Every(x, t)), 0)
	return logits
}

// Backward adds the gradients of what trains, from dlogits (batch, classes) of the last Forward.
func (v *ViT) Backward(dlogits blas32.General) {
	c, n := v.config, v.batch
	p, t, w := c.patches(), c.tokens(), c.Width
	dclass, dx := v.dclass.First(n), compute.First(v.dx, n*t)
	v.head.Backward(dclass, compute.AsOperand(v.backend, v.dlogits, dlogits), v.ln.output(n))
	clear(dx.Data)
	v.ln.backward(compute.Every(dx, t), dclass)
	for i := len(v.blocks) - 1; i >= 0; i-- {
		v.blocks[i].backward(dx, n, t, &v.work)
	}
	dembedded := compute.First(v.embedded, n*p)
	for i := range n {
		row := dx.Data[i*t*w : (i+1)*t*w]
		copy(dembedded.Data[i*p*w:], row[w:])
		if v.grads != nil {
			v.backend.Add(v.parameters[0].Grad, row[:w]) // class_token
			if pos := v.position(); pos.Grad != nil {
				v.backend.Add(pos.Grad, row)
			}
		}
	}
	v.embed.Backward(compute.Operand{}, compute.AsOperand(v.backend, v.work.dx, dembedded), v.patch.First(n*p))
}

// position is the position embedding's parameter: the fourth, after class_token and conv_proj's two.
func (v *ViT) position() *Parameter { return &v.parameters[3] }
