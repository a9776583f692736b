package train

import (
	"cmp"
	"fmt"
	"slices"

	"lte/collective"
	"lte/config"
)

// divided are matrices that Muon updates by gradients that all ranks have alike: each is orthogonalized by one rank, which brings the
// updated matrix to all, in one Allgather a step.
type divided struct {
	group collective.Group
	value []float32
	of    [][]span  // of every rank
	send  []float32 // this rank's matrices
	recv  []float32 // (ranks, block), in the node's memory
}

// divide gives every matrix of the spans to one of so many ranks, so that their work is about the same. It returns the matrices of every
// rank, and the length of the longest.
func divide(spans []span, ranks int) (of [][]span, block int) {
	var all []span
	for _, s := range spans {
		if s.columns > 0 {
			s.elsewhere = false
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b span) int { return cmp.Compare(b.muonFLOPs(), a.muonFLOPs()) })
	of, loads, lengths := make([][]span, ranks), make([]float64, ranks), make([]int, ranks)
	for _, s := range all {
		least := slices.Index(loads, slices.Min(loads))
		of[least], loads[least], lengths[least] = append(of[least], s), loads[least]+s.muonFLOPs(), lengths[least]+s.length()
	}
	return of, slices.Max(lengths)
}

// divides says whether the ranks of a run divide its matrices.
func divides(c config.Config) bool {
	return c.Optimizer.Name == "muon" && c.Spec().Averages && !c.Spec().HasHeads()
}

// mark marks the matrices among the spans that another of so many ranks updates.
func mark(spans []span, rank, ranks int) {
	of, _ := divide(spans, ranks)
	for i, s := range spans {
		spans[i].elsewhere = s.columns > 0 && !slices.Contains(of[rank], s)
	}
}

// newDivided allocates the buffers of an exchange of the matrices of p, whose spans mark has seen or not.
func newDivided(g collective.Group, p parameters) (*divided, error) {
	of, block := divide(p.spans, g.Size())
	a := collective.AllocatorOf(g)
	d := &divided{group: g, value: p.value, of: of, send: a.Floats(block)}
	memory, err := a.Shared(4, g.Size(), block)
	if err != nil {
		return nil, fmt.Errorf("memory for the matrices of other ranks: %w", err)
	}
	d.recv = collective.Floats(memory)
	return d, nil
}

// gather brings every matrix from the rank that has updated it.
func (d *divided) gather() error {
	at := 0
	for _, s := range d.of[d.group.Rank()] {
		at += copy(d.send[at:], d.value[s.from:s.to])
	}
	if err := d.group.AllgatherShared(collective.Bytes(d.recv), collective.Bytes(d.send)); err != nil {
		return fmt.Errorf("gathering the matrices that other ranks have updated: %w", err)
	}
	for rank, matrices := range d.of {
		block := d.recv[rank*len(d.send):]
		for _, s := range matrices {
			block = block[copy(d.value[s.from:s.to], block):]
		}
	}
	return d.group.NodeBarrier() // all have read recv
}
