package train

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/lora"
	"lte/merge"

	"gonum.org/v1/gonum/blas"
)

// Route is how the heads of some layers travel at merges, and what was measured to choose it.
type Route struct {
	Transports map[string][]string // transport: layers, by name; none is empty
	Network    *collective.Network // nil: no need to measure it
	Rate       float64             // operations a second of a rank that merges, where the network was measured
}

// String says it in a line.
func (r Route) String() string {
	var parts []string
	for _, t := range merge.Transports() {
		if n := len(r.Transports[t.String()]); n > 0 {
			parts = append(parts, fmt.Sprintf("%s for %d layers", t, n))
		}
	}
	s := "heads travel as " + strings.Join(parts, ", ")
	if n := r.Network; n != nil {
		s += fmt.Sprintf(" (latency %v, allgather %.3g MB/s, alltoall %.3g MB/s, merge %.3g GFLOP/s of a rank)",
			time.Duration(n.Latency*1e9).Round(100*time.Nanosecond), n.Allgather/1e6, n.Alltoall/1e6, r.Rate/1e9)
	}
	return s
}

// transports are the route's, of a layout's layers, one each.
func (r Route) transports(l *lora.Layout) ([]merge.Transport, error) {
	all := make([]merge.Transport, len(l.Layers))
	for i, p := range l.Layers {
		for name, layers := range r.Transports {
			if !slices.Contains(layers, p.Layer.Name) {
				continue
			}
			var err error
			if all[i], err = merge.ParseTransport(name); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// routed is a method whose heads travel.
type routed interface{ travels() Route }

// route is the method's; empty where it has none.
func (t *Trainer) route() (r Route) {
	if m, ok := t.method.(routed); ok {
		r = m.travels()
	}
	return r
}

// Transports are those of the layout's layers, one each, if merging costs that.
//
// Only factors bring a head's own numbers to all ranks, which biases of heads, overlap and the measurement of heads need:
// what these concern travels so whatever is asked for.
func Transports(c config.Config, l *lora.Layout, costs func() (merge.Costs, error)) ([]merge.Transport, error) {
	all := make([]merge.Transport, len(l.Layers)) // factors
	if c.LoRA.Bias || c.Exchange.Overlap || c.Exchange.Transport == merge.Factors.String() {
		return all, nil
	}
	var free []int
	var factors []merge.Factor
	for i, p := range l.Layers {
		if c.Measure.Every == 0 || !matchAny(c.Measure.Layers, p.Layer.Name) {
			free, factors = append(free, i), append(factors, factorOf(p))
		}
	}
	var chosen []merge.Transport
	if c.Exchange.Transport == "auto" {
		costs, err := costs()
		if err != nil {
			return nil, err
		}
		chosen = costs.Choose(factors)
	} else {
		t, err := merge.ParseTransport(c.Exchange.Transport)
		if err != nil {
			return nil, err
		}
		chosen = slices.Repeat([]merge.Transport{t}, len(free))
	}
	for i, t := range chosen {
		all[free[i]] = t
	}
	return all, nil
}

// choose finds the transports of this run's layers, the same ones on all ranks: those of another route, where one is given.
func (h *heads) choose(g *collective.Meter, own int, as *Route) (all []merge.Transport, r Route, err error) {
	if as != nil {
		all, err = as.transports(h.layout)
		return all, *as, err
	}
	control := g.For(collective.Control)
	w := merge.Wire(h.config.Exchange.Wire)
	all, err = Transports(h.config, h.layout, func() (c merge.Costs, err error) {
		c = merge.Costs{Ranks: g.Size(), Own: own, Wire: w}
		if c.Network, err = collective.Measure(control); err != nil {
			return c, err
		}
		nodes, err := collective.Numbers(control, uint64(sharers(h.config, g).NodeSize()))
		if err != nil {
			return c, fmt.Errorf("agreeing on who shares a merge: %w", err)
		}
		c.Sharers = int(slices.Min(nodes)) // the fewest of any node
		if c.Rate, err = mergeRate(control, h.backend, h.layout, own*g.Size()); err == nil && g.Size() > 1 {
			r.Network, r.Rate = &c.Network, c.Rate
		}
		return c, err
	})
	if err != nil {
		return nil, r, err
	}
	r.Transports = map[string][]string{}
	for i, t := range all {
		r.Transports[t.String()] = append(r.Transports[t.String()], h.layout.Layers[i].Layer.Name)
	}
	return all, r, nil
}

func (l *lte) travels() Route { return l.route }

// mergeRate is the operations a second that the slowest rank merges a layer of middle size with, while all do.
func mergeRate(g collective.Group, be compute.Backend, l *lora.Layout, heads int) (float64, error) {
	layers := slices.Clone(l.Layers)
	slices.SortFunc(layers, func(a, b lora.LayerSlot) int { return len(a.Layer.W.Data) - len(b.Layer.W.Data) })
	p := layers[len(layers)/2]
	m, n, inner := p.Layer.W.Rows, p.Layer.W.Cols, heads*p.Rank
	dst := compute.Matrix(m, n, make([]float32, m*n))
	b, a := compute.Matrix(m, inner, make([]float32, m*inner)), compute.Matrix(inner, n, make([]float32, inner*n))
	var least time.Duration
	for i := range 3 {
		began := time.Now()
		be.AddProduct(compute.F32(dst), p.Layer.W, 1, b, a)
		if d := time.Since(began); i == 0 || d < least {
			least = d
		}
	}
	times, err := collective.Numbers(g, uint64(max(1, least)))
	if err != nil {
		return 0, fmt.Errorf("agreeing on the speed of a merge: %w", err)
	}
	return 2 * float64(m*n) * float64(inner) / time.Duration(slices.Max(times)).Seconds(), nil
}

// multiply makes what one rank's heads, or all heads', add to W: (s/N)·BA, stacked.
func (l *lte) multiply(dst []float32, layer, rows, columns, inner int, b, a []float32) {
	scale := l.layout.Layers[layer].Scale * l.share
	l.backend.Gemm(blas.NoTrans, blas.NoTrans, scale, compute.F32(compute.Matrix(rows, inner, b)),
		compute.F32(compute.Matrix(inner, columns, a)), 0, compute.F32(compute.Matrix(rows, columns, dst)))
}
