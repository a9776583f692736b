package train

import (
	"math"

	"lte/checkpoint"
	"lte/compute"
	"lte/config"
)

// optimizer updates parameters.
type optimizer interface {
	// step updates them by their gradients, multiplied by clip.
	step(lr, clip float64)
	// clear resets its state; it returns how many nonzero values it cleared.
	clear() int
	// state names its memory.
	state(t *checkpoint.Tensors, name string)
}

func newOptimizer(c config.Optimizer, be compute.Backend, alloc compute.Allocator, p parameters) optimizer {
	alloc = alloc.For(compute.TrainingMemory)
	switch c.Name {
	case "muon":
		return newMuon(c, be, alloc, p)
	case "sgd":
		return &sgd{config: c, backend: be, p: p.joined(), buffer: alloc.Floats(p.length())}
	}
	return newAdamW(c, be, alloc, p)
}

// joined makes spans of which one follows the other one, if weight decay treats them alike.
func (p parameters) joined() parameters {
	var all []span
	for _, s := range p.spans {
		if n := len(all); n > 0 && all[n-1].to == s.from && all[n-1].decay == s.decay {
			all[n-1].to = s.to
		} else {
			all = append(all, span{from: s.from, to: s.to, decay: s.decay})
		}
	}
	p.spans = all
	return p
}

// adamW is AdamW (Loshchilov and Hutter, arXiv 1711.05101) with torch.optim.AdamW's arithmetic.
type adamW struct {
	config  config.Optimizer
	backend compute.Backend
	p       parameters
	m, v    []float32 // first and second moments, of the spans one after another
	t       int       // steps done
}

func newAdamW(c config.Optimizer, be compute.Backend, alloc compute.Allocator, p parameters) *adamW {
	return &adamW{config: c, backend: be, p: p.joined(), m: alloc.Floats(p.length()), v: alloc.Floats(p.length())}
}

func (o *adamW) step(lr, clip float64) {
	o.t++
	s := compute.AdamWStep{LR: lr, Beta1: o.config.Beta1, Beta2: o.config.Beta2, Eps: o.config.Eps, Clip: clip, T: o.t}
	at := 0
	for _, span := range o.p.spans {
		i, j, next := span.from, span.to, at+span.length()
		s.Decay = 0
		if span.decay {
			s.Decay = o.config.WeightDecay
		}
		o.backend.AdamW(o.p.value[i:j], o.m[at:next], o.v[at:next], o.p.grad[i:j], s)
		at = next
	}
}

func (o *adamW) clear() int {
	o.t = 0
	return clearValues(o.m) + clearValues(o.v)
}

func (o *adamW) state(t *checkpoint.Tensors, name string) {
	t.Floats(name+".m", o.m)
	t.Floats(name+".v", o.v)
	t.Int(name+".steps", &o.t)
}

// clearValues sets x to 0; it returns how many values were not.
func clearValues(x []float32) (cleared int) {
	for i, v := range x {
		if v != 0 {
			x[i] = 0
			cleared++
		}
	}
	return cleared
}

// sgd is gradient descent with momentum and coupled decay, as torch.optim.SGD.
type sgd struct {
	config  config.Optimizer
	backend compute.Backend
	p       parameters
	buffer  []float32
}

func (o *sgd) step(lr, clip float64) {
	s := compute.SGDStep{LR: lr, Momentum: o.config.Momentum, Clip: clip}
	for _, span := range o.p.spans {
		i, j := span.from, span.to
		s.Decay = 0
		if span.decay {
			s.Decay = o.config.WeightDecay
		}
		o.backend.SGD(o.p.value[i:j], o.buffer[i:j], o.p.grad[i:j], s)
	}
}

func (o *sgd) clear() int { return clearValues(o.buffer) }

func (o *sgd) state(t *checkpoint.Tensors, name string) { t.Floats(name+".momentum", o.buffer) }

// clip is the factor that limits the 2-norm of a gradient, if the limit is not 0, with torch.nn.utils.clip_grad_norm_'s arithmetic.
func clip(norm, limit float64) float64 {
	if limit > 0 && limit/(norm+1e-6) < 1 {
		return limit / (norm + 1e-6)
	}
	return 1
}

// learningRate is the rate of a step, counting from 0: a linear rise over the warm-up, (step+1)/warmup of the peak,
// then half a cosine or a straight line from the peak down to MinLR at the last step's end, or the peak.
func learningRate(peak float64, s config.Schedule, step, steps int) float64 {
	if step < s.Warmup {
		return peak * float64(step+1) / float64(s.Warmup)
	}
	done := float64(step-s.Warmup) / float64(steps-s.Warmup)
	switch s.Kind {
	case "constant":
		return peak
	case "linear":
		return peak + (s.MinLR-peak)*done
	}
	return s.MinLR + (peak-s.MinLR)*(1+math.Cos(math.Pi*done))/2
}
