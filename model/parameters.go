package model

import (
	"slices"

	"lte/compute"
	"lte/nn"

	"gonum.org/v1/gonum/blas/blas32"
)

// Parameter is a named weight of the model, as torchvision or timm exports it.
type Parameter struct {
	Name  string
	Shape []int
	Value compute.Weights // (out, in) of a linear layer's weight, else one row of float32
	Grad  []float32       // nil unless it trains
	Decay bool            // a matrix of a linear layer: weight decay applies

	fixed  bool // never trains
	trains bool
	offset int                   // bytes, in Storage
	set    func(compute.Weights) // gives the layer its memory
}

// Len is the number of the parameter's values.
func (p Parameter) Len() int { return p.Value.Len() }

// Parameters returns all parameters in the library's order, LayerNorm's ones and zeros too where it has no affine.
func (m *Model) Parameters() []Parameter { return m.parameters }

// Flat returns the parameters that can train as one slice, where all are stored in FP32. What never trains is left out: fixed
// sinusoids, and the ones and zeros of a LayerNorm without affine.
func (m *Model) Flat() []float32 {
	_, trainable := m.Sizes()
	return compute.NewWeights(compute.FP32, 1, trainable, compute.Slice(m.storage, 0, m.fixedAt)).Float32()
}

// Train makes backward passes add up the gradients of the parameters, of those that can train, whose names match, and
// of no others. It returns them; their gradients lie one after another in grads.
func (m *Model) Train(match func(name string) bool) (trained []Parameter, grads []float32) {
	total := 0
	for i := range m.parameters {
		p := &m.parameters[i]
		p.Grad, p.trains = nil, !p.fixed && match(p.Name)
		if p.trains {
			total += p.Len()
		}
	}
	grads = m.alloc.For(compute.TrainingMemory).Floats(total)
	at := 0
	for i := range m.parameters {
		if p := &m.parameters[i]; p.trains {
			p.Grad = compute.Slice(grads, at, at+p.Len())
			at += p.Len()
			trained = append(trained, *p)
		}
	}
	m.setGrads()
	return trained, grads
}

// setGrads gives layers and norms the gradients of their parameters.
func (m *Model) setGrads() {
	for _, l := range m.layers {
		w, b := &m.parameters[m.first[l]], &m.parameters[m.first[l]+1]
		l.SetTrainable(w.trains, b.trains, w.Grad, b.Grad)
	}
	for _, n := range m.norms {
		gamma, beta := m.parameters[m.first[n]], m.parameters[m.first[n]+1]
		if gamma.trains != beta.trains { // a LayerNorm adds to both gradients or to none
			for _, p := range []*Parameter{&gamma, &beta} {
				if !p.trains {
					p.Grad = m.alloc.For(compute.TrainingMemory).Floats(p.Len())
				}
			}
		}
		n.SetGrad(gamma.Grad, beta.Grad)
	}
}

// Gradients returns ∂L/∂W (out, in) of some linear layers, whether they train or not, at the main weights W: the sum
// over the passes, forward and backward, that f makes. What trains keeps its gradients as they were.
func (m *Model) Gradients(layers []*nn.Linear, f func()) []blas32.General {
	kept := slices.Clone(m.parameters)
	defer func() {
		copy(m.parameters, kept)
		m.setGrads()
	}()
	wanted := map[string]bool{}
	for _, l := range layers {
		wanted[m.parameters[m.first[l]].Name] = true
	}
	m.Train(func(name string) bool { return wanted[name] })
	m.UseMerged()
	m.ZeroGrad()
	f()
	gradients := make([]blas32.General, len(layers))
	for i, l := range layers {
		gradients[i] = l.GradW
	}
	return gradients
}

// add registers a parameter that is stored in FP32; set is given its memory.
func (m *Model) add(p Parameter, set func([]float32)) {
	values := 1
	for _, size := range p.Shape {
		values *= size
	}
	p.Value = compute.NewWeights(compute.FP32, 1, values, nil)
	p.set = func(w compute.Weights) { set(w.Float32()) }
	m.parameters = append(m.parameters, p)
}

// linear registers a linear layer whose passes have up to rowsPerImage rows an image, and returns it; shape is the weight's
// in the library where that is not (out, in).
func (m *Model) linear(name string, out, in, rowsPerImage int, shape ...int) *nn.Linear {
	return m.namedLinear(name, name+".weight", name+".bias", out, in, rowsPerImage, shape...)
}

func (m *Model) namedLinear(name, weight, bias string, out, in, rowsPerImage int, shape ...int) *nn.Linear {
	w := compute.NewWeights(m.config.Format, out, in, nil)
	l := nn.NewLinear(name, w, rowsPerImage, m.backend)
	if shape == nil {
		shape = []int{out, in}
	}
	m.layers, m.first[l] = append(m.layers, l), len(m.parameters)
	m.parameters = append(m.parameters, Parameter{Name: weight, Shape: shape, Value: w, Decay: true, set: func(w compute.Weights) { l.W = w }})
	m.add(Parameter{Name: bias, Shape: []int{out}}, func(x []float32) { l.B = x })
	return l
}

// norm registers a LayerNorm of the model's width.
func (m *Model) norm(name string) *nn.LayerNorm {
	width, affine := []int{m.config.Width}, m.config.NormAffine
	n := nn.NewLayerNorm(affine, m.backend)
	m.norms, m.first[n] = append(m.norms, n), len(m.parameters)
	m.add(Parameter{Name: name + ".weight", Shape: width, fixed: !affine}, func(x []float32) { n.Gamma = x })
	m.add(Parameter{Name: name + ".bias", Shape: width, fixed: !affine}, func(x []float32) { n.Beta = x })
	return n
}

// mlp registers the two layers of an MLP, of that many rows an image.
func (m *Model) mlp(first, second string, width, hidden, rows int) nn.MLP {
	return nn.NewMLP(m.linear(first, hidden, width, rows), m.linear(second, width, hidden, rows), &m.drop, m.backend)
}

// residual makes the place where a branch of that block joins the residual stream.
func (m *Model) residual(block int) nn.Residual {
	return nn.NewResidual(&m.drop, block, m.config.Depth, m.config.Width)
}

// assignOffsets gives every parameter its offset in Storage: those that can train first, each kind in order.
func (m *Model) assignOffsets() {
	at := 0
	for _, fixed := range []bool{false, true} {
		m.fixedAt = at
		for i := range m.parameters {
			if p := &m.parameters[i]; p.fixed == fixed {
				p.offset = at
				at += p.Value.Size()
			}
		}
	}
}

// Storage returns the memory of all parameters: those that can train, then those that never do.
func (m *Model) Storage() []byte { return m.storage }

// StorageBytes is the length of Storage, of a model without memory too.
func (m *Model) StorageBytes() (n int) {
	for _, p := range m.parameters {
		n += p.Value.Size()
	}
	return n
}

// SetStorage makes storage, as long as Storage, the parameters' memory, with the values that it has. Heads are made after it.
func (m *Model) SetStorage(storage []byte) {
	if storage != nil && len(storage) != m.StorageBytes() { // nil: only counted
		panic("model: storage of another length")
	}
	m.storage = storage
	for i := range m.parameters {
		p := &m.parameters[i]
		w := p.Value
		p.Value = compute.NewWeights(w.Format(), w.Rows, w.Cols, compute.Slice(storage, p.offset, p.offset+w.Size()))
		p.set(p.Value)
	}
	m.UseMerged()
}

// With returns the parameters as they would be with flat for Flat.
func (m *Model) With(flat []float32) []Parameter {
	all := slices.Clone(m.parameters)
	for i, p := range all {
		if !p.fixed {
			all[i].Value = compute.Float32Weights(p.Value.Rows, p.Value.Cols, flat[:p.Len()])
			flat = flat[p.Len():]
		}
	}
	return all
}
