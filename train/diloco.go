package train

import (
	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/model"
)

// newDiLoCo is DiLoCo (Douillard et al., arXiv 2311.08105, algorithm 1): localSGD whose merge is a step of an outer
// optimizer on the averaged difference Δ = θ − mean(θ_k), SGD with Nesterov momentum μ and rate η as torch.optim.SGD
// computes it:
//
//	v ← μv + Δ;  θ ← θ − η·(Δ + μv)
func newDiLoCo(c config.Config, g *collective.Meter, be compute.Backend, m *model.Model) (*localSGD, error) {
	d, err := newLocalSGD(c, g, be, m)
	if err != nil {
		return nil, err
	}
	velocity := make([]float32, len(m.Flat()))
	d.velocity = velocity
	eta, mu := c.Outer.LR, c.Outer.Momentum
	d.outer = func(mean, merged []float32) {
		for i, theta := range merged {
			delta := float64(theta) - float64(mean[i])
			v := mu*float64(velocity[i]) + delta
			velocity[i] = float32(v)
			mean[i] = float32(float64(theta) - eta*(delta+mu*v))
		}
	}
	return d, nil
}
