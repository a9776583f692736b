package merge_test

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"lte/collective"
	"lte/collective/grouptest"
	"lte/merge"
)

// many are layers with more outputs than inputs and with fewer, with sides that no number of ranks divides and that are shorter than
// there are ranks, and with gaps between and B before A.
var (
	many = []merge.Factor{
		{A: 0, B: 6, M: 5, N: 3, R: 2},
		{A: 20, B: 44, M: 2, N: 8, R: 3},
		{A: 57, B: 52, M: 4, N: 4, R: 1},
		{A: 70, B: 100, M: 37, N: 10, R: 2},
		{A: 180, B: 400, M: 9, N: 70, R: 3},
	}
	manyLen = 430
)

// choices are transports of many.
func choices() (all [][]merge.Transport) {
	for _, t := range merge.Transports() {
		all = append(all, slices.Repeat([]merge.Transport{t}, len(many)))
	}
	const f, d, r = merge.Factors, merge.Dense, merge.Rows
	return append(all, []merge.Transport{r, d, f, r, r}, []merge.Transport{d, r, r, f, d})
}

// scaled is the layers' s.
func scaled(layer int) float64 { return []float64{0.5, 2, 1, 0.25, 1.5}[layer] }

// multiply is a merge.Product.
func multiply(dst []float32, layer, rows, columns, inner int, b, a []float32) {
	for i := range rows {
		for j := range columns {
			sum := 0.0
			for p := range inner {
				sum += float64(b[i*inner+p]) * float64(a[p*columns+j])
			}
			dst[i*columns+j] = float32(scaled(layer) * sum)
		}
	}
}

// updates is Σ s·BA of a layer over heads, and what differences of delta in their factors may make of each number.
func updates(layer int, heads [][]float32, delta float64) (sum, spread []float64) {
	f := many[layer]
	for i := range f.M {
		for j := range f.N {
			x, e := 0.0, 0.0
			for _, h := range heads {
				for p := range f.R {
					a, b := float64(h[f.A+p*f.N+j]), float64(h[f.B+i*f.R+p])
					x += scaled(layer) * b * a
					e += scaled(layer) * (delta*(math.Abs(a)+math.Abs(b)+delta) + 1e-6*math.Abs(a*b))
				}
			}
			sum, spread = append(sum, x), append(spread, e)
		}
	}
	return sum, spread
}

// Laws 5 and 7 of the update: whatever the transports and the wire, all ranks hold the same bits of the sums, and these differ from
// Σ s·BA by no more than the wire's stated errors make of them: of the factors, or of each rank's own sums, and of the parts that
// ranks hand on. The errors do not grow from merge to merge, nor where W takes the sums up for good.
//
// Fails if rows or columns are cut, or put together, at the wrong place, if a block is added twice or to another's, if what a rank
// formed stays with it, if a leg sends what it should not owe, and if Renew forgets.
func lawUpdate(g collective.Group) error {
	for _, w := range wires {
		for c, transports := range choices() {
			for i, own := range []int{1, 2, 1} {
				if err := lawOneUpdate(g, w, transports, own, i == 2); err != nil {
					return fmt.Errorf("%s, choice %d, %d heads a rank, resets %v: %w", w, c, own, i == 2, err)
				}
			}
		}
	}
	return nil
}

func lawOneUpdate(g collective.Group, w merge.Wire, transports []merge.Transport, own int, resets bool) error {
	const rounds = 4
	u := newUpdate(g, many, manyLen, own, w, transports, multiply)
	heads := own * g.Size()
	factors := func(k, round int) []float32 { // that differ a little from those of the round before
		x := make([]float32, manyLen)
		for i := range x {
			x[i] = float32(math.Sin(float64(31*k+i)) + 0.1*math.Sin(float64(7*k+5*i)*float64(round+1)))
		}
		return x
	}
	rho := 0.0
	if w != merge.FP32 {
		rho = 1 / steps[w]
	}
	rho /= 1 - rho // e ≤ ρ(move + e)
	delta := rho * 1.11
	wantW, gotW := make([][]float64, len(many)), make([][]float64, len(many))
	for round := range rounds {
		var mine []float32
		var all [][]float32
		for k := range heads {
			all = append(all, factors(k, round))
			if k/own == g.Rank() {
				mine = append(mine, all[k]...)
			}
		}
		statuses, err := u.Gather(mine, merge.Status{Loss: float64(g.Rank())})
		if err != nil {
			return err
		}
		if statuses[len(statuses)-1].Loss != float64(g.Size()-1) {
			return errors.New("a status is lost")
		}
		var got []float32
		sizes := make([]float64, len(merge.Transports())) // the largest change that such layers' sums may make
		sums, spreads := make([][]float64, len(many)), make([][]float64, len(many))
		for l := range many {
			sums[l], spreads[l] = updates(l, all, delta)
			sizes[transports[l]] = max(sizes[transports[l]], largest(sums[l])+largest(spreads[l]))
		}
		lost := 0.0 // of all ranks' own sums
		for k := range g.Size() {
			one := 0.0
			for l, t := range transports {
				if t == merge.Dense {
					s, _ := updates(l, all[k*own:(k+1)*own], 0)
					one = max(one, largest(s))
				}
			}
			lost += 2.2 * rho * one
		}
		for l, f := range many {
			sum := u.Sum(l)
			if (sum == nil) != (transports[l] == merge.Factors) {
				return fmt.Errorf("layer %d: %d numbers of a sum", l, len(sum))
			}
			want, spread := sums[l], spreads[l]
			switch transports[l] {
			case merge.Factors:
				sum = make([]float32, f.M*f.N)
				for _, part := range [][2]int{{0, f.M / 3}, {f.M / 3, f.M}} {
					from, to := part[0], part[1]
					a, b := u.Stacks(l, from, to)
					multiply(sum[from*f.N:], l, to-from, f.N, heads*f.R, b, a)
				}
			case merge.Dense:
				_, spread = updates(l, all, 0)
				for i := range spread {
					spread[i] += lost + 2.2*rho*(sizes[merge.Dense]+lost)
				}
			case merge.Rows:
				for i := range spread {
					spread[i] += 2.2 * rho * sizes[merge.Rows]
				}
			}
			if wantW[l] == nil {
				wantW[l], gotW[l] = make([]float64, len(sum)), make([]float64, len(sum))
			}
			for i := range want {
				limit := spread[i]
				if resets {
					wantW[l][i] += want[i]
					gotW[l][i] += float64(sum[i])
				} else {
					wantW[l][i], gotW[l][i] = want[i], float64(sum[i])
				}
				if resets && transports[l] == merge.Rows || transports[l] == merge.Factors {
					limit *= float64(round + 1) // what factors owe is not Renew's
				}
				if off := math.Abs(gotW[l][i] - wantW[l][i]); !(off <= limit) {
					return fmt.Errorf("round %d, layer %d (%s), number %d: %v, want %v: off by %v, stated %v",
						round, l, transports[l], i, gotW[l][i], wantW[l][i], off, limit)
				}
			}
			got = append(got, sum...)
		}
		digests := make([]uint64, g.Size())
		if err := collective.Allgather(g, digests, []uint64{collective.Digest(got)}); err != nil {
			return err
		}
		if slices.Min(digests) != slices.Max(digests) {
			return fmt.Errorf("round %d: not the same bits on all ranks", round)
		}
		if resets {
			if err := u.ResetSums(); err != nil {
				return err
			}
		}
	}
	return nil
}

func largest(x []float64) (most float64) {
	for _, v := range x {
		most = max(most, math.Abs(v))
	}
	return most
}

// Fails if an update sends more than Transport counts: in fp32, of sides and a layer that the ranks divide, to the byte.
func lawUpdateTraffic(g collective.Group) error {
	f := merge.Factor{A: 0, B: 4 * 24, M: 48, N: 24, R: 4}
	tall, length := f, 4*(24+48)
	f.M, f.N, f.B = 24, 48, 4*48
	const own = 2
	ranks := g.Size()
	others := int64(ranks - 1)
	for _, f := range []merge.Factor{tall, f} {
		for i, numbers := range []int64{
			others * own * 4 * (24 + 48),
			2 * others * 24 * 48 / int64(ranks),
			others*own*4*24 + others*(own*4*48+24*48)/int64(ranks),
		} {
			transport := merge.Transports()[i]
			meter := collective.NewMeter(g)
			u := newUpdate(meter.For(collective.Merging), []merge.Factor{f}, length, own, merge.FP32,
				[]merge.Transport{transport}, func([]float32, int, int, int, int, []float32, []float32) {})
			if _, err := u.Gather(grouptest.Draw(0, own*length), merge.Status{}); err != nil {
				return err
			}
			want := 4*numbers + 8*others // and a status
			if got := meter.Traffic(collective.Merging); got.Sent != want || got.Received != want {
				return fmt.Errorf("%s of %d×%d: %+v, want %d bytes", transport, f.M, f.N, got, want)
			}
		}
	}
	return nil
}

// Messages is exact to the byte for every wire format and every choice of transports: fails if an exchange sends more, or less.
func lawMessages(g collective.Group) error {
	for _, w := range wires {
		for c, transports := range choices() {
			for _, own := range []int{1, 2} {
				meter := collective.NewMeter(g)
				u := newUpdate(meter.For(collective.Merging), many, manyLen, own, w, transports, multiply)
				if _, err := u.Gather(make([]float32, own*manyLen), merge.Status{}); err != nil {
					return err
				}
				want := int64(0)
				for _, m := range merge.Messages(many, manyLen, own, g.Size(), w, transports) {
					want += m.Sent(g.Size())
				}
				if got := meter.Traffic(collective.Merging); got.Sent != want || got.Received != want {
					return fmt.Errorf("%s, choice %d, %d heads a rank: %+v, want %d bytes", w, c, own, got, want)
				}
			}
		}
	}
	return nil
}
