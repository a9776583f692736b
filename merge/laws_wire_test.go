package merge_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"lte/collective"
	"lte/collective/grouptest"
	"lte/merge"
)

const wide = 200 // factors of a head: its last block is not full

// walk is where a head's factors are after some moves.
func walk(head, moves int) []float32 {
	x := grouptest.Draw(head, wide)
	for move := range moves {
		for i, v := range grouptest.Draw(1000+100*move+head, wide) {
			x[i] += v / 10
		}
	}
	return x
}

func same(got, want []float32) bool { return collective.Digest(got) == collective.Digest(want) }

// Law 5 of the exchange: all ranks hold of every head what its sender computes, to the bit, whatever the rank that it is on, the
// wire, and whether messages are compressed; and that is what anyone computes who knows what was sent before.
//
// Fails if the sender holds what it had, if a head is another's, if a block continues from one head to the next, or if a change is
// taken from anything but what Sent returned and added to anything but what Head did.
func lawWires(g collective.Group) error {
	for _, w := range wires {
		for own := 1; own*g.Size() <= 8; own *= 2 {
			for _, group := range []collective.Group{g, merge.Compressed(g, w)} {
				if err := lawWire(group, w, own); err != nil {
					return fmt.Errorf("%s, %d heads a rank: %w", w, own, err)
				}
			}
		}
	}
	return nil
}

func lawWire(g collective.Group, w merge.Wire, own int) error {
	e := newExchange(g, nil, wide, own, w)
	heads := own * g.Size()
	sent, held := make([][]float32, heads), make([][]float32, heads) // the twins'
	for k := range heads {
		sent[k], held[k] = make([]float32, wide), make([]float32, wide)
	}
	for round := range 4 {
		if w != merge.FP32 && round%2 == 0 { // heads are reset: one half can be drawn by every rank, the other is a residual
			const half = wide / 2
			for k := range heads {
				copy(held[k], grouptest.Draw(k+round, half))
				clear(held[k][half:])
				copy(sent[k], held[k][:half])
				for i, x := range walk(k, round)[half:] {
					sent[k][half+i] -= x
				}
				if k/own == g.Rank() {
					copy(e.LocalEstimate(k%own), sent[k])
				}
			}
			if err := e.SetEstimates(func(k int, head []float32) { copy(head, held[k]) }); err != nil {
				return err
			}
		}
		var mine []float32
		for i := range own {
			mine = append(mine, walk(g.Rank()*own+i, round+1)...)
		}
		statuses, err := e.Gather(mine, merge.Status{Loss: float64(g.Rank()), Failed: g.Rank() + 1})
		if err != nil {
			return err
		}
		for k, s := range statuses {
			if s.Loss != float64(k) || s.Failed != k+1 {
				return fmt.Errorf("rank %d's status is %v", k, s)
			}
		}
		for k := range heads {
			message := make([]byte, w.Bytes(wide))
			w.Encode(message, sent[k], walk(k, round+1))
			w.Decode(held[k], message)
			if !same(e.Estimate(k), held[k]) {
				return fmt.Errorf("round %d: head %d arrives with other bits", round, k)
			}
			if k/own == g.Rank() && !same(e.LocalEstimate(k%own), sent[k]) {
				return fmt.Errorf("round %d: head %d was sent with other bits", round, k)
			}
		}
	}
	return nil
}

// payload is what a rank sends: noise, zeros, floats between 1 and 2, or one rank's noise beside zeros of the others.
func payload(kind, rank, n int) []byte {
	x := make([]byte, n)
	for i, noise := range grouptest.Noise(rank, n) {
		switch {
		case kind == 0, kind == 3 && rank == 0, kind == 2 && i%4 < 2:
			x[i] = noise
		case kind == 2:
			x[i] = []byte{0x80 | noise, 0x3f}[i%4-2]
		}
	}
	return x
}

// Compressed messages arrive as they are, of whatever length and content, whatever the others'.
//
// Fails if a frame is cut or padded with what does not belong to it, if planes do not come together again, and if blocks of an
// Alltoall are laid where the next call's are longer.
func lawCompressed(g collective.Group) error {
	size := g.Size()
	for _, w := range wires {
		c := merge.Compressed(g, w)
		for _, n := range []int{0, 1, 3, 7, 8, 1001} {
			for kind := range 4 {
				what := fmt.Sprintf("%s, %d bytes, kind %d", w, n, kind)
				var want []byte
				for k := range size {
					want = append(want, payload(kind, k, n)...)
				}
				shared, err := g.NodeMemory(size * n)
				if err == nil {
					err = c.AllgatherShared(shared, payload(kind, g.Rank(), n))
				}
				if err != nil {
					return fmt.Errorf("%s: %w", what, err)
				}
				if !bytes.Equal(shared, want) {
					return errors.New(what + ": an allgather brings other bytes")
				}
				want = want[:0]
				for k := range size {
					want = append(want, payload(kind, k, size*n)[g.Rank()*n:(g.Rank()+1)*n]...)
				}
				got := make([]byte, size*n)
				if err := c.Alltoall(got, payload(kind, g.Rank(), size*n)); err != nil {
					return fmt.Errorf("%s: %w", what, err)
				}
				if !bytes.Equal(got, want) {
					return errors.New(what + ": an alltoall brings other bytes")
				}
			}
		}
	}
	return nil
}

// What travels compressed is counted as it travels: eight bytes for the length, and the longest frame of any rank behind its four.
//
// Fails if what is counted is the message before it was compressed, if it is longer by more than noise needs, or if half of a
// float's bytes being alike does not show.
func lawCompressedTraffic(g collective.Group) error {
	const n = 10_000
	others := int64(g.Size() - 1)
	for kind, most := range []int64{n + 50, 50, n*3/4 + 50, n + 50} {
		meter := collective.NewMeter(g)
		c := merge.Compressed(meter.For(collective.Merging), merge.FP32)
		shared, err := g.NodeMemory(g.Size() * n)
		if err == nil {
			err = c.AllgatherShared(shared, payload(kind, g.Rank(), n))
		}
		if err != nil {
			return err
		}
		got := meter.Traffic(collective.Merging)
		if got.Sent != got.Received || got.Sent > (most+8+4)*others || got.Sent < 8*others {
			return fmt.Errorf("kind %d: %+v for %d bytes to %d ranks, want at most %d each", kind, got, n, others, most)
		}
		all := make([]uint64, g.Size())
		if err := collective.Allgather(g, all, []uint64{uint64(got.Sent)}); err != nil {
			return err
		}
		if slices.Min(all) != slices.Max(all) {
			return fmt.Errorf("kind %d: ranks sent %v", kind, all)
		}
	}
	return nil
}

// Compressed messages reach the memory of a node as they were sent.
//
// Fails if a rank unpacks another's part, or continues before the others have read theirs.
func lawCompressedNodes(g collective.Group) error {
	return grouptest.CheckNode(merge.Compressed(g, merge.FP32))
}
