package train

import (
	"math/rand/v2"
	"slices"
	"testing"

	"lte/collective/grouptest"
	"lte/compute"
	"lte/config"
)

// Ranks that divide the matrices have the bits of one that updates them all, as their gradients are alike. Fails if a matrix is updated by no rank or by
// one whose momentum is another, if a vector is left out, or if one rank has all the work.
func TestDividedMatricesAreThoseOfOneRank(t *testing.T) {
	shapes := [][2]int{{24, 8}, {8, 24}, {0, 0}, {16, 16}, {8, 8}, {4, 30}, {0, 0}, {24, 8}} // 0: a vector of 5
	make_ := func() (p parameters) {
		for _, s := range shapes {
			if s[0] == 0 {
				p.append(5, false, 0)
			} else {
				p.append(s[0]*s[1], true, s[1])
			}
		}
		p.value, p.grad = make([]float32, p.length()), make([]float32, p.length())
		return p
	}
	c := config.Optimizer{Name: "muon", LR: 0.1, AdamWLR: 0.05, Muon: 0.95, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, WeightDecay: 0.1}
	train := func(p parameters, o optimizer, after func() error) error {
		rng := rand.New(rand.NewPCG(1, 2))
		for range 3 {
			for i := range p.grad {
				p.grad[i] = float32(rng.NormFloat64())
			}
			o.step(0.1, 0.5)
			if err := after(); err != nil {
				return err
			}
		}
		return nil
	}
	be := backend(t, "auto", 1)
	alone := make_()
	if err := train(alone, newOptimizer(c, be, compute.Heap(compute.Float32), alone), func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	for _, ranks := range []int{2, 3, 9} { // two of a node, and the last alone
		grouptest.Run(t, ranks, func(g *grouptest.Rank) error {
			p := make_()
			mark(p.spans, g.NodeRank(), g.NodeSize())
			d, err := newDivided(g, p)
			if err != nil {
				return err
			}
			total, largest, own := 0.0, 0.0, 0.0
			for rank, matrices := range d.of {
				for _, s := range matrices {
					total, largest = total+s.muonFLOPs(), max(largest, s.muonFLOPs())
					if rank == g.NodeRank() {
						own += s.muonFLOPs()
					}
				}
			}
			if own > total/float64(g.NodeSize())+largest {
				t.Errorf("rank %d of %d has %v of %v FLOPs", g.Rank(), ranks, own, total)
			}
			if err := train(p, newOptimizer(c, backend(t, "auto", 1), compute.Heap(compute.Float32), p), d.gather); err != nil {
				return err
			}
			if !slices.Equal(p.value, alone.value) {
				t.Errorf("rank %d of %d has other weights than one rank alone", g.Rank(), ranks)
			}
			return nil
		})
	}
}
