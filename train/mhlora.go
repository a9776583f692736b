package train

import (
	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/model"
)

// newMHLoRA is multi-head LoRA: N heads in every pass, y = x(W⁰ + s·Σ_k B_k A_k)ᵀ + b, their gradients averaged every
// step. The heads are one of rank N·r, whose A's lie above one another and whose B's beside one another, scaled by the
// s of one.
func newMHLoRA(c config.Config, g *collective.Meter, be compute.Backend, m *model.Model) (*loraMethod, error) {
	return newLoRA(c, g, be, m, c.LoRA.Heads)
}
