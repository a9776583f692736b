package collective_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lte/collective"
)

// laws hold in a group of any size: alone and in gangs of goroutines here, on real ranks in mpirun_test.go. Each computes what
// every rank should hold from all ranks' numbers, which any rank can draw.
var laws = []struct {
	name string
	body func(g collective.Group) error
}{
	{"stacks", lawStacks},
	{"statuses", lawStatuses},
	{"mean", lawMean},
	{"mean of equals", lawMeanOfEquals},
	{"means in a row", lawMeansInARow},
	{"sum", lawSum},
	{"lockstep", lawLockstep},
	{"broadcast", lawBroadcast},
	{"agree", lawAgree},
	{"traffic", lawTraffic},
	{"wires", lawWires},
	{"update", lawUpdate},
	{"update traffic", lawUpdateTraffic},
	{"compressed", lawCompressed},
	{"compressed traffic", lawCompressedTraffic},
	{"nodes", lawNodes},
}

var sizes = []int{1, 2, 3, 4, 8}

func TestLaws(t *testing.T) {
	for _, law := range laws {
		t.Run(law.name, func(t *testing.T) {
			if err := law.body(collective.Alone{}); err != nil {
				t.Error("alone:", err)
			}
			for _, size := range sizes {
				inGang(t, size, law.body)
			}
		})
	}
}

// draw is a rank's vector of n numbers of very different sizes.
func draw(rank, n int) []float32 {
	source := rand.New(rand.NewPCG(uint64(rank), uint64(n)))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(source.NormFloat64() * math.Exp(4*source.NormFloat64()))
	}
	return x
}

// layers are a layer with more outputs than inputs, one with fewer, and one of rank 1 whose B comes first, with gaps between.
var (
	layers = []collective.Factor{
		{A: 0, B: 6, M: 5, N: 3, R: 2},
		{A: 20, B: 44, M: 2, N: 8, R: 3},
		{A: 57, B: 52, M: 4, N: 4, R: 1},
	}
	flat = 61 // elements
)

// Fails if a head's A or B is taken from the wrong offset, in the wrong order of ranks, or laid side by side the wrong way, and if
// a later layer's stacks keep anything of an earlier layer or merge.
func lawStacks(g collective.Group) error {
	e := newExchange(g, layers, flat, 1, collective.FP32)
	for round := range 2 {
		seed := func(k int) int { return 100*round + k }
		if _, err := e.Gather(draw(seed(g.Rank()), flat), collective.Status{}); err != nil {
			return err
		}
		for _, l := range []int{0, 1, 2, 1, 0} {
			f := layers[l]
			a, b := e.Stacks(l, 0, f.M)
			inner := g.Size() * f.R
			if len(a) != inner*f.N || len(b) != f.M*inner {
				return fmt.Errorf("layer %d: stacks of %d and %d elements", l, len(a), len(b))
			}
			for i := range f.M {
				for j := range f.N {
					var got, want, scale float64
					for p := range inner {
						got += float64(b[i*inner+p]) * float64(a[p*f.N+j])
					}
					for k := range g.Size() { // Σ_k B_k A_k
						head := draw(seed(k), flat)
						for p := range f.R {
							term := float64(head[f.B+i*f.R+p]) * float64(head[f.A+p*f.N+j])
							want += term
							scale += math.Abs(term)
						}
					}
					if math.Abs(got-want) > 1e-12*scale {
						return fmt.Errorf("layer %d (%d, %d): %v, want %v", l, i, j, got, want)
					}
				}
			}
			for k := range g.Size() { // the stacks' rows and columns themselves: a sum does not show the order of heads
				head := draw(seed(k), flat)
				if a[k*f.R*f.N] != head[f.A] || b[k*f.R] != head[f.B] {
					return fmt.Errorf("layer %d: head %d is not at its place", l, k)
				}
			}
		}
	}
	return nil
}

// Fails if NaN or a step is lost or reaches a wrong rank, and if the loss is rounded other than to float32.
func lawStatuses(g collective.Group) error {
	statuses := []collective.Status{
		{Loss: 2.302585092994046},
		{Loss: math.NaN(), Failed: 7},
		{Loss: math.Inf(1), Failed: 1},
		{Loss: 0, Failed: 1 << 24},
		{Loss: 1e300, Failed: 1<<24 - 1}, // an infinity in float32
	}
	e := newExchange(g, nil, 0, 1, collective.FP32)
	for shift := range statuses { // every status on every rank
		status := func(k int) collective.Status { return statuses[(k+shift)%len(statuses)] }
		got, err := e.Gather(nil, status(g.Rank()))
		if err != nil {
			return err
		}
		if len(got) != g.Size() {
			return fmt.Errorf("%d statuses", len(got))
		}
		for k, s := range got {
			want := status(k)
			want.Loss = float64(float32(want.Loss))
			same := s.Loss == want.Loss || math.IsNaN(s.Loss) && math.IsNaN(want.Loss)
			if !same || s.Failed != want.Failed {
				return fmt.Errorf("rank %d's status is %v, want %v", k, s, want)
			}
		}
	}
	return nil
}

// lengths of vectors: none, fewer than ranks, not a multiple of the ranks, a multiple, and past one stretch of the sum.
var lengths = []int{0, 1, 2, 5, 7, 24, 1000, 24_000, 50_001}

// terms is draw with numbers at every third place whose sum over three ranks or more depends on the order of adding, also in
// float64: 1e30 takes the small numbers before it, not those after it has gone.
func terms(rank, n int) []float32 {
	x := draw(rank, n)
	for i := 0; i < n; i += 3 {
		x[i] = []float32{1, 1e30, -1e30, 0.1}[rank%4]
	}
	return x
}

// Fails if blocks are added in another order than that of ranks or rounded in between, if a block or the padding reaches the wrong
// place, and if the buffers carry anything from one call to the next. All ranks compare with the same bits.
func lawMean(g collective.Group) error {
	for _, n := range lengths {
		m := newMean(g, n)
		for round := range 2 {
			sum := make([]float64, n)
			for k := range g.Size() {
				for i, v := range terms(12*round+k, n) {
					sum[i] += float64(v)
				}
			}
			x := terms(12*round+g.Rank(), n)
			if err := m.Average(x); err != nil {
				return err
			}
			for i := range x {
				want := float32(sum[i] / float64(g.Size()))
				if math.Float32bits(x[i]) != math.Float32bits(want) {
					return fmt.Errorf("length %d: element %d is %v, want %v", n, i, x[i], want)
				}
			}
			digests := make([]uint64, g.Size())
			if err := collective.Allgather(g, digests, []uint64{collective.Digest(x)}); err != nil {
				return err
			}
			for k, d := range digests {
				if d != digests[0] {
					return fmt.Errorf("length %d: rank %d has other bits than rank 0", n, k)
				}
			}
		}
	}
	return nil
}

// Fails if the sum is rounded to float32: with three heads alike, their mean would not be what each has.
func lawMeanOfEquals(g collective.Group) error {
	x, want := draw(0, 1000), draw(0, 1000)
	if err := newMean(g, len(x)).Average(x); err != nil {
		return err
	}
	if collective.Digest(x) != collective.Digest(want) {
		return errors.New("the mean of equal vectors is another one")
	}
	return nil
}

// Means in a row, with nothing between them. Fails if one rank goes on to the next while others still read what they have in common.
func lawMeansInARow(g collective.Group) error {
	x := make([]float32, 300_000)
	m := newMean(g, len(x))
	for round := range 30 {
		for i := range x {
			x[i] = float32(round*g.Size() + g.Rank())
		}
		if err := m.Average(x); err != nil {
			return err
		}
		for i, v := range x {
			if want := float32(round*g.Size()) + float32(g.Size()-1)/2; v != want {
				return fmt.Errorf("round %d: element %d is %v, want %v", round, i, v, want)
			}
		}
	}
	return nil
}

// Fails if the order of the sum is another one (1e16 takes the small numbers before it, not those after), or a number is counted
// twice.
func lawSum(g collective.Group) error {
	term := func(k int) [3]float64 { return [3]float64{[]float64{1, 1e16, -1e16, 0.1}[k%4], float64(k), math.Pi} }
	var want [3]float64
	for k := range g.Size() {
		for i, v := range term(k) {
			want[i] += v
		}
	}
	got := term(g.Rank())
	if err := collective.Sum(g, got[:]); err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("sums %v, want %v", got, want)
	}
	return collective.Sum(g, nil)
}

// Fails if one flipped bit on one rank passes, if any rank is not told of it, if the message names another layer or rank, and if
// equal weights are called different.
func lawLockstep(g collective.Group) error {
	names := []string{"conv_proj", "encoder.layers.encoder_layer_0.mlp.0", "heads.head"}
	check := func(corrupt map[int]int, want string) error { // corrupt: the layer with a wrong bit, by rank
		digests := make([]uint64, len(names))
		for l := range names {
			weights := draw(l, 1000)
			if wrong, is := corrupt[g.Rank()]; is && wrong == l {
				weights[999] = math.Float32frombits(math.Float32bits(weights[999]) ^ 1)
			}
			digests[l] = collective.Digest(weights)
		}
		err := collective.CheckLockstep(g, names, digests)
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			return fmt.Errorf("got %v, want %q", err, want)
		}
		var e *collective.LockstepError
		if errors.As(err, &e) {
			for i, name := range names {
				if slices.Contains(e.Layers, i) != strings.Contains(want, name) {
					return fmt.Errorf("the layers %v differ, want %q", e.Layers, want)
				}
			}
		}
		return nil
	}
	const broken, layer = "lockstep broken after merge: ", `"encoder.layers.encoder_layer_0.mlp.0" differs on `
	err := check(nil, "")
	switch size := g.Size(); {
	case size == 1:
		return errors.Join(err, check(map[int]int{0: 1}, "")) // nobody to differ from
	case size == 2:
		return errors.Join(err,
			check(map[int]int{1: 1}, broken+layer+"rank 1 from rank 0"),
			check(map[int]int{0: 1}, broken+layer+"rank 1 from rank 0"),
			check(map[int]int{0: 1, 1: 1}, ""),
			check(map[int]int{0: 0, 1: 2}, broken+`"conv_proj" differs on rank 1 from rank 0; "heads.head" differs on rank 1 from rank 0`))
	case size >= 8:
		return errors.Join(err,
			check(map[int]int{2: 1, 5: 1}, broken+layer+"ranks 2, 5 from rank 0"),
			check(map[int]int{7: 2}, broken+`"heads.head" differs on rank 7 from rank 0`))
	default:
		return errors.Join(err, check(map[int]int{1: 1, 2: 1}, broken+layer+"ranks 1, 2 from rank 0"))
	}
}

// Fails if any rank ends with other bits than rank 0's, if a block or the padding reaches the wrong place, and if a vector of more
// than one piece is cut wrongly.
func lawBroadcast(g collective.Group) error {
	for _, n := range append(lengths, g.Size()<<16+5) {
		x, want := draw(g.Rank(), n), draw(0, n)
		if err := collective.Broadcast(g, x); err != nil {
			return err
		}
		if collective.Digest(x) != collective.Digest(want) {
			return fmt.Errorf("length %d: not what rank 0 had", n)
		}
	}
	return nil
}

// Fails if a rank is not told of another's error, loses its own, is given one that is not its own, or hears of a rank that is not
// the lowest.
func lawAgree(g collective.Group) error {
	own := fmt.Errorf("no space on rank %d", g.Rank())
	last := g.Size() - 1
	for _, failing := range [][]int{nil, {0}, {last}, {last / 2, last}} {
		var err error
		if slices.Contains(failing, g.Rank()) {
			err = own
		}
		got := collective.Agree(g, err)
		if len(failing) == 0 {
			if got != nil {
				return fmt.Errorf("all is well: got %v", got)
			}
			continue
		}
		var f *collective.Failure
		text := fmt.Sprintf("rank %d failed", failing[0])
		if err != nil {
			text = own.Error()
		}
		if !errors.As(got, &f) || f.Rank != failing[0] || f.Unwrap() != err || f.Error() != text {
			return fmt.Errorf("failing %v: got %#v, want a *Failure of rank %d with %v", failing, got, failing[0], err)
		}
	}
	return nil
}

// Fails if a merge or a mean sends or receives more, or in more numbers, than the package's doc comment counts, and if it is
// counted as another purpose's.
func lawTraffic(g collective.Group) error {
	const n = 24_000 // a multiple of every size: no padding
	others := int64(g.Size() - 1)
	for _, c := range []struct {
		name    string
		purpose collective.Purpose
		want    int64
		do      func(g collective.Group) error
	}{
		{"factors and status", collective.Merging, 4 * int64(flat+2) * others, func(g collective.Group) error {
			_, err := newExchange(g, layers, flat, 1, collective.FP32).Gather(draw(0, flat), collective.Status{})
			return err
		}},
		{"int8 factors of two heads and status", collective.Merging, int64(2*(flat+2)+8) * others, func(g collective.Group) error {
			_, err := newExchange(g, layers, flat, 2, collective.Int8).Gather(draw(0, 2*flat), collective.Status{})
			return err
		}},
		{"mean", collective.Gradients, collective.AllreduceBytes(n, g.Size()), func(g collective.Group) error {
			return newMean(g, n).Average(draw(0, n))
		}},
		{"sum", collective.Evaluation, 8 * 3 * others, func(g collective.Group) error {
			return collective.Sum(g, make([]float64, 3))
		}},
		{"broadcast", collective.Control, collective.AllreduceBytes(n, g.Size()), func(g collective.Group) error {
			return collective.Broadcast(g, draw(0, n))
		}},
		{"agreement", collective.Control, 8 * others, func(g collective.Group) error { return collective.Agree(g, nil) }},
		{"barrier", collective.Control, 0, collective.Group.Barrier},
	} {
		meter := collective.NewMeter(g)
		if err := c.do(meter.For(c.purpose)); err != nil {
			return err
		}
		for _, p := range collective.Purposes() {
			want := collective.Traffic{}
			if p == c.purpose {
				want = collective.Traffic{Sent: c.want, Received: c.want}
			}
			if got := meter.Traffic(p); got != want {
				return fmt.Errorf("%s: %+v counted as %s, want %+v", c.name, got, p, want)
			}
		}
		if meter.Sent() != c.want {
			return fmt.Errorf("%s: %d bytes sent, want %d", c.name, meter.Sent(), c.want)
		}
	}
	return nil
}
