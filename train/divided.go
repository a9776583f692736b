package train

import (
	"cmp"
	"fmt"
	"slices"

	"lte/collective"
	"lte/config"
)

// divided are matrices that Muon updates by gradients that all ranks have alike: of a node each is orthogonalized by one rank, which gives
// the updated matrix to the others through shared memory. Nothing is sent between nodes.
type divided struct {
	group  collective.Group
	value  []float32
	of     [][]span  // of every rank of the node
	shared []float32 // as value
}

// divides says whether the ranks of a node divide the matrices of a run.
func divides(c config.Config) bool {
	return c.Optimizer.Name == "muon" && c.Spec().Averages && !c.Spec().HasHeads()
}

// divide gives every matrix of the spans to one of so many ranks, so that their work is about the same.
func divide(spans []span, ranks int) (of [][]span) {
	var all []span
	for _, s := range spans {
		if s.columns > 0 {
			s.elsewhere = false
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b span) int { return cmp.Compare(b.muonFLOPs(), a.muonFLOPs()) })
	of, loads := make([][]span, ranks), make([]float64, ranks)
	for _, s := range all {
		least := slices.Index(loads, slices.Min(loads))
		of[least], loads[least] = append(of[least], s), loads[least]+s.muonFLOPs()
	}
	return of
}

// mark marks the matrices among the spans that another rank of the node updates.
func mark(spans []span, rank, ranks int) {
	of := divide(spans, ranks)
	for i, s := range spans {
		spans[i].elsewhere = s.columns > 0 && !slices.Contains(of[rank], s)
	}
}

// newDivided allocates the memory through which the ranks of a node exchange the matrices of p.
func newDivided(g collective.Group, p parameters) (*divided, error) {
	memory, err := collective.AllocatorOf(g).Shared(4, p.length())
	if err != nil {
		return nil, fmt.Errorf("memory for the matrices of other ranks: %w", err)
	}
	return &divided{group: g, value: p.value, of: divide(p.spans, g.NodeSize()), shared: collective.Floats(memory)}, nil
}

// gather brings every matrix from the rank of the node that has updated it.
func (d *divided) gather() error {
	own := d.group.NodeRank()
	for _, s := range d.of[own] {
		copy(d.shared[s.from:s.to], d.value[s.from:s.to])
	}
	if err := d.group.NodeBarrier(); err != nil {
		return err
	}
	for rank, matrices := range d.of {
		for _, s := range matrices {
			if rank != own {
				copy(d.value[s.from:s.to], d.shared[s.from:s.to])
			}
		}
	}
	return d.group.NodeBarrier() // all have read
}
