package merge_test

import (
	"fmt"

	"lte/collective"
	"lte/merge"
)

// What all ranks hold of the mean is what anyone computes who knows what was sent before, to the bit; in fp32 without momentum it is the
// mean of all heads.
//
// Fails if a residual is dropped, added twice, or kept across Set, if a change is taken from anything but the mean that all hold, if a block goes to another
// rank, or if momentum is that of another mean.
func lawMean(g collective.Group) error {
	for _, w := range wires {
		for own := 1; own*g.Size() <= 8; own *= 2 {
			for _, with := range []struct {
				group    collective.Group
				momentum float64
			}{{g, 0}, {merge.Compressed(g, w), 0.5}} {
				if err := lawMeanOf(with.group, w, own, with.momentum); err != nil {
					return fmt.Errorf("%s, %d heads a rank, momentum %v: %w", w, own, with.momentum, err)
				}
			}
		}
	}
	return nil
}

func lawMeanOf(g collective.Group, w merge.Wire, own int, mu float64) error {
	m, err := merge.NewMean(g, wide, own, w, mu)
	if err != nil {
		return err
	}
	size := g.Size()
	mean, velocity := make([]float32, wide), make([]float32, wide)
	sent, block := make([][]float32, size), make([]float32, wide) // residuals e of each rank, and of each block
	for rank := range sent {
		sent[rank] = make([]float32, wide)
	}
	for round := range 4 {
		if round == 2 {
			mean = walk(40, 0)
			clear(velocity)
			clear(block)
			for _, e := range sent {
				clear(e)
			}
			m.Set(mean)
		}
		var mine []float32
		for i := range own {
			mine = append(mine, walk(g.Rank()*own+i, round)...)
		}
		statuses, err := m.Gather(mine, merge.Status{Loss: float64(g.Rank()), Failed: g.Rank() + 1})
		if err != nil {
			return err
		}
		for k, s := range statuses {
			if s.Loss != float64(k) || s.Failed != k+1 {
				return fmt.Errorf("rank %d's status is %v", k, s)
			}
		}
		if err := m.Step(); err != nil {
			return err
		}
		sums := make([]float64, wide)
		for rank := range size {
			x := make([]float64, wide)
			for i := range own {
				for j, v := range walk(rank*own+i, round) {
					x[j] += float64(v)
				}
			}
			for i := range size {
				from, to := collective.Share(wide, i, size)
				value := make([]float32, to-from)
				for j := range value {
					value[j] = float32(x[from+j] / float64(own))
				}
				for j, v := range quantize(w, mean[from:to], sent[rank][from:to], value) {
					sums[from+j] += float64(v)
				}
			}
		}
		for i := range size {
			from, to := collective.Share(wide, i, size)
			value := make([]float32, to-from)
			for j := range value {
				value[j] = float32(sums[from+j] / float64(size))
			}
			for j, y := range quantize(w, mean[from:to], block[from:to], value) {
				if mu > 0 {
					v := float32(mu*float64(velocity[from+j]) + float64(y-mean[from+j]))
					velocity[from+j] = v
					y += float32(mu * float64(v))
				}
				mean[from+j] = y
			}
		}
		if !same(m.Value(), mean) {
			return fmt.Errorf("round %d: the mean has other bits", round)
		}
	}
	return nil
}

// quantize returns what arrives of a value where mean is held, and makes residual what does not.
func quantize(w merge.Wire, mean, residual, value []float32) []float32 {
	estimate, arrives := make([]float32, len(mean)), append([]float32(nil), mean...)
	for i, x := range mean {
		estimate[i] = x - residual[i]
	}
	message := make([]byte, w.Bytes(len(value)))
	w.Encode(message, estimate, value)
	w.Decode(arrives, message)
	if w != merge.FP32 {
		for i, v := range value {
			residual[i] = v - estimate[i]
		}
	}
	return arrives
}

// A mean sends two blocks of the vector to every other rank, and a status, whatever the number of heads.
//
// Fails if a rank sends anything that MeanMessages does not say, or more for more heads.
func lawMeanTraffic(g collective.Group) error {
	for _, w := range wires {
		for _, own := range []int{1, 3} {
			meter := collective.NewMeter(g)
			m, err := merge.NewMean(meter.For(collective.Merging), wide, own, w, 0)
			if err != nil {
				return err
			}
			if _, err := m.Gather(make([]float32, own*wide), merge.Status{}); err != nil {
				return err
			}
			var want int64
			for _, message := range merge.MeanMessages(wide, g.Size(), w) {
				want += message.Sent(g.Size())
			}
			if got := meter.Traffic(collective.Merging).Sent; got != want {
				return fmt.Errorf("%s, %d heads a rank: %d bytes, expected %d", w, own, got, want)
			}
			block := w.Bytes((wide + g.Size() - 1) / g.Size())
			if exact := int64(g.Size()-1) * int64(2*block+merge.StatusBytes); want != exact {
				return fmt.Errorf("%s: MeanMessages are %d bytes, expected %d", w, want, exact)
			}
		}
	}
	return nil
}
