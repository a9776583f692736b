package merge

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"lte/collective"
	"lte/compute"
	"lte/lora"
)

// Choice says how the transports of layers are chosen.
type Choice struct {
	Transport string                  // the name of one, or "auto": the cheapest of each layer
	Factors   func(layer string) bool // which layers travel as factors in any case; nil: none
}

// Transports returns the transports of the layout's layers, one each. Costs are asked for only where there is a choice.
func (c Choice) Transports(l *lora.Layout, costs func() (Costs, error)) ([]Transport, error) {
	all := make([]Transport, len(l.Layers)) // Factors
	var free []int
	var factors []Factor
	for i, slot := range l.Layers {
		if c.Factors == nil || !c.Factors(slot.Layer.Name) {
			free, factors = append(free, i), append(factors, factorOf(slot))
		}
	}
	if len(free) == 0 {
		return all, nil
	}
	var chosen []Transport
	if c.Transport == "auto" {
		costs, err := costs()
		if err != nil {
			return nil, err
		}
		chosen = costs.Choose(factors)
	} else {
		t, err := ParseTransport(c.Transport)
		if err != nil {
			return nil, err
		}
		chosen = slices.Repeat([]Transport{t}, len(free))
	}
	for i, t := range chosen {
		all[free[i]] = t
	}
	return all, nil
}

// Route is the transports of layers, and what was measured to choose them.
type Route struct {
	Transports map[string][]string // names of layers by transport
	Network    *collective.Network // nil: not measured
	Rate       float64             // FLOP/s of a rank that merges; 0: not measured
}

// String describes the route in a line.
func (r Route) String() string {
	var parts []string
	for _, t := range Transports() {
		if n := len(r.Transports[t.String()]); n > 0 {
			parts = append(parts, fmt.Sprintf("%s for %d layers", t, n))
		}
	}
	s := "heads travel as " + strings.Join(parts, ", ")
	if n := r.Network; n != nil {
		s += fmt.Sprintf(" (latency %v, allgather %.3g MB/s, alltoall %.3g MB/s, merge %.3g GFLOP/s per rank)",
			time.Duration(n.Latency*1e9).Round(100*time.Nanosecond), n.Allgather/1e6, n.Alltoall/1e6, r.Rate/1e9)
	}
	return s
}

// Check returns an error for an unknown transport, or a layer that has two.
func (r Route) Check() error {
	seen := map[string]bool{}
	for name, layers := range r.Transports {
		if _, err := ParseTransport(name); err != nil {
			return err
		}
		for _, l := range layers {
			if seen[l] { // ranks could take it differently
				return fmt.Errorf("layer %q has two transports", l)
			}
			seen[l] = true
		}
	}
	return nil
}

// Sums reports whether the sums of some layers travel instead of the heads.
func (r Route) Sums() bool {
	return len(r.Transports[Dense.String()])+len(r.Transports[Rows.String()]) > 0
}

// transports are the route's, of a layout's layers, one each.
func (r Route) transports(l *lora.Layout) ([]Transport, error) {
	all := make([]Transport, len(l.Layers))
	for i, slot := range l.Layers {
		for name, layers := range r.Transports {
			if !slices.Contains(layers, slot.Layer.Name) {
				continue
			}
			var err error
			if all[i], err = ParseTransport(name); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// chooseRoute sets the route of this run's layers, the same on all ranks: the given one, or one that is chosen by measurement.
func (m *Merger) chooseRoute(meter *collective.Meter) (all []Transport, err error) {
	if m.Options.Route != nil {
		m.route = *m.Options.Route
		return m.route.transports(m.Layout)
	}
	control := meter.For(collective.Control)
	all, err = m.Choice.Transports(m.Layout, func() (c Costs, err error) {
		c = Costs{Ranks: meter.Size(), Own: m.Own, Wire: m.Wire}
		if c.Network, err = collective.Measure(control); err != nil {
			return c, err
		}
		nodes, err := collective.Numbers(control, uint64(m.nodes.NodeSize()))
		if err != nil {
			return c, fmt.Errorf("agreeing on the ranks that divide a merge: %w", err)
		}
		c.Sharers = int(slices.Min(nodes)) // the fewest of any node
		if c.Rate, err = mergeRate(control, m.Backend, m.Layout, m.All); err == nil && meter.Size() > 1 {
			m.route.Network, m.route.Rate = &c.Network, c.Rate
		}
		return c, err
	})
	if err != nil {
		return nil, err
	}
	m.route.Transports = map[string][]string{}
	for i, t := range all {
		m.route.Transports[t.String()] = append(m.route.Transports[t.String()], m.Layout.Layers[i].Layer.Name)
	}
	return all, nil
}

// mergeRate is the FLOP/s at which the slowest rank merges a layer of middle size, while all do.
func mergeRate(g collective.Group, be compute.Backend, l *lora.Layout, heads int) (float64, error) {
	layers := slices.Clone(l.Layers)
	slices.SortFunc(layers, func(a, b lora.LayerSlot) int { return len(a.Layer.W.Data) - len(b.Layer.W.Data) })
	slot := layers[len(layers)/2]
	m, n, inner := slot.Layer.W.Rows, slot.Layer.W.Cols, heads*slot.Rank
	dst := compute.Matrix(m, n, make([]float32, m*n))
	b, a := compute.Matrix(m, inner, make([]float32, m*inner)), compute.Matrix(inner, n, make([]float32, inner*n))
	var least time.Duration
	for i := range 3 {
		began := time.Now()
		be.AddProduct(compute.F32(dst), slot.Layer.W, 1, b, a)
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
