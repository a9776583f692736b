package model

import (
	"fmt"
	"math"
	"math/rand/v2"

	"lte/compute"
	"lte/nn"

	"gonum.org/v1/gonum/blas/blas32"
)

// vit is a vision transformer: patch embedding, class token, positions, blocks, LayerNorm, and a classifier on the class
// token. Dropout is where torchvision has it: behind the positions, and in the blocks.
type vit struct {
	model      *Model
	embed      *nn.Linear // on patches (channel, row, column): torchvision's conv_proj
	classToken []float32
	positions  []float32 // (tokens, width)
	blocks     []*block
	ln         *nn.LayerNorm
	head       *nn.Linear

	activations
	work     work
	embedded blas32.General  // (batch·patches, width)
	mask     compute.Operand // (batch·tokens, width): dropout's behind the positions
	dclass   compute.Operand // (batch, width)
}

func (c Config) tokens() int { return 1 + c.patches() }

func checkViT(c Config) error {
	switch {
	case c.Width%c.Heads != 0:
		return fmt.Errorf("model.width = %d is not a multiple of model.heads = %d", c.Width, c.Heads)
	case c.Positions == "sincos" && c.Width%4 != 0:
		return fmt.Errorf("model.width = %d is not a multiple of 4, which model.positions = \"sincos\" needs", c.Width)
	}
	return nil
}

func newViT(m *Model) network {
	c := m.config
	v := &vit{model: m}
	m.add(Parameter{Name: "class_token", Shape: []int{1, 1, c.Width}}, func(x []float32) { v.classToken = x })
	v.embed = m.linear("conv_proj", c.Width, c.Channels*c.Patch*c.Patch, c.patches(), c.Width, c.Channels, c.Patch, c.Patch)
	m.add(Parameter{Name: "encoder.pos_embedding", Shape: []int{1, c.tokens(), c.Width}, fixed: c.Positions == "sincos"},
		func(x []float32) { v.positions = x })
	for i := range c.Depth {
		at := fmt.Sprintf("encoder.layers.encoder_layer_%d.", i)
		o := &block{heads: c.Heads, last: i == c.Depth-1, attended: m.residual(i), fed: m.residual(i), backend: m.backend}
		t, behind := c.tokens(), o.behind(c.tokens())
		o.ln1 = m.norm(at + "ln_1")
		in := at + "self_attention.in_proj"
		o.qkv = m.namedLinear(in, in+"_weight", in+"_bias", 3*c.Width, c.Width, t)
		o.proj = m.linear(at+"self_attention.out_proj", c.Width, c.Width, behind)
		o.ln2 = m.norm(at + "ln_2")
		o.mlp = m.mlp(at+"mlp.0", at+"mlp.3", c.Width, c.MLP, behind)
		v.blocks = append(v.blocks, o)
	}
	v.ln = m.norm("encoder.ln")
	v.head = m.linear("heads.head", c.Classes, c.Width, 1)
	v.embed.DataSized, v.head.DataSized = true, true
	return v
}

// The place of two parameters among the model's.
const (
	classTokenIndex = 0
	positionsIndex  = 3 // after conv_proj's two
)

func (v *vit) allocate(alloc compute.Allocator, batch int) {
	c := v.model.config
	rows := batch * c.tokens()
	v.activations = newActivations(alloc, c, batch, c.tokens())
	v.embedded, v.dclass = alloc.Matrix(batch*c.patches(), c.Width), alloc.Operand(batch, c.Width)
	v.work = newWork(alloc, rows, c.Width, c.MLP)
	for _, b := range v.blocks {
		b.allocate(alloc, batch, c.tokens(), c.Width)
	}
	v.model.drop.Allocate(alloc, rows, c.Width, rows*c.MLP)
	v.mask = v.model.drop.NewMask(alloc, rows, c.Width)
	v.ln.Allocate(alloc, batch, c.Width)
}

func (v *vit) forward(images []float32, n int) blas32.General {
	c, be, drop := v.model.config, v.model.backend, &v.model.drop
	p, t, w := c.patches(), c.tokens(), c.Width
	patch, embedded, x := v.patch.First(n*p), compute.First(v.embedded, n*p), compute.First(v.x, n*t)
	be.Patches(patch, images, c.images(n))
	v.embed.Forward(compute.F32(embedded), patch, 0)
	for i := range n {
		row := x.Data[i*t*w:]
		copy(row[:w], v.classToken)
		copy(row[w:t*w], embedded.Data[i*p*w:])
		be.Add(row[:t*w], v.positions)
	}
	if drop.Drops() {
		drop.Apply(x, v.mask.First(n*t))
	}
	for _, b := range v.blocks {
		b.forward(x, n, t)
	}
	// LayerNorm and classifier read the class tokens alone.
	logits := compute.First(v.logits, n)
	v.head.Forward(compute.F32(logits), v.ln.Forward(compute.Every(x, t)), 0)
	return logits
}

func (v *vit) backward(dlogits blas32.General, n int) {
	c, be := v.model.config, v.model.backend
	p, t, w := c.patches(), c.tokens(), c.Width
	dclass, dx := v.dclass.First(n), compute.First(v.dx, n*t)
	v.head.Backward(dclass, compute.AsOperand(be, v.dlogits, dlogits), v.ln.Output(n))
	clear(dx.Data)
	v.ln.Backward(compute.Every(dx, t), dclass)
	for i := len(v.blocks) - 1; i >= 0; i-- {
		v.blocks[i].backward(dx, n, t, &v.work)
	}
	if v.model.drop.Drops() {
		be.Multiply(compute.F32(dx), compute.F32(dx), v.mask.First(n*t))
	}
	dembedded := compute.First(v.embedded, n*p)
	class, positions := v.model.parameters[classTokenIndex].Grad, v.model.parameters[positionsIndex].Grad
	for i := range n {
		row := dx.Data[i*t*w : (i+1)*t*w]
		copy(dembedded.Data[i*p*w:], row[w:])
		if class != nil {
			be.Add(class, row[:w])
		}
		if positions != nil {
			be.Add(positions, row)
		}
	}
	v.embed.Backward(compute.Operand{}, compute.AsOperand(be, v.work.dx, dembedded), v.patch.First(n*p))
}

// initialise draws the weights as torchvision's VisionTransformer starts:
//
//	class_token                 0
//	conv_proj.weight            normal, σ = √(1/fan_in), cut at ±2 (absolute, as torch's trunc_normal_ does)
//	encoder.pos_embedding       normal, σ = 0.02
//	self_attention.in_proj      Xavier uniform
//	self_attention.out_proj     U(±1/√fan_in)
//	mlp.0, mlp.3                Xavier uniform; biases normal, σ = 1e-6
//	heads.head                  0
//	other biases                0
//	LayerNorm                   scale 1, shift 0
func (v *vit) initialise(rng *rand.Rand) {
	sigma := math.Sqrt(1 / float64(v.embed.W.Cols))
	v.embed.W.Update(func(x []float32) { nn.TruncatedNormal(x, sigma, 2, rng) })
	if v.model.config.Positions == "sincos" {
		sincos(v.positions, v.model.config)
	} else {
		nn.Normal(v.positions, 0.02, rng)
	}
	for _, b := range v.blocks {
		nn.XavierUniform(b.qkv, rng)
		b.proj.W.Update(func(x []float32) { nn.Uniform(x, 1/math.Sqrt(float64(b.proj.W.Cols)), rng) })
		b.mlp.Init(rng)
	}
}

func (v *vit) attentionFLOPs() (flops float64) {
	for _, b := range v.blocks {
		flops += 6 * b.shape(1, v.model.config.tokens()).ProductFLOPs()
	}
	return flops
}

// sincos fills the position embedding (tokens, width) with 2-D sinusoids of temperature 10,000 (Beyer et al., arXiv
// 2205.01580): a quarter of the width each for sin x, cos x, sin y, cos y; the class token's row is 0.
func sincos(dst []float32, c Config) {
	w, quarter := c.Width, c.Width/4
	clear(dst[:w])
	across := c.ImageWidth / c.Patch
	for p := range c.patches() {
		row := dst[(1+p)*w:][:w]
		x, y := float64(p%across), float64(p/across)
		for i := range quarter {
			omega := math.Pow(10000, -float64(i)/math.Max(1, float64(quarter-1)))
			row[i], row[quarter+i] = float32(math.Sin(x*omega)), float32(math.Cos(x*omega))
			row[2*quarter+i], row[3*quarter+i] = float32(math.Sin(y*omega)), float32(math.Cos(y*omega))
		}
	}
}
