package collective_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"lte/collective"
	"lte/collective/grouptest"
)

// Each law computes what every rank should hold from all ranks' values, which any rank can draw.
var laws = []grouptest.Law{
	{Name: "mean", Body: grouptest.Holds(lawMean)},
	{Name: "mean of equals", Body: grouptest.Holds(lawMeanOfEquals)},
	{Name: "means in a row", Body: grouptest.Holds(lawMeansInARow)},
	{Name: "sum", Body: grouptest.Holds(lawSum)},
	{Name: "lockstep", Body: grouptest.Holds(lawLockstep)},
	{Name: "agree", Body: grouptest.Holds(lawAgree)},
	{Name: "traffic", Body: grouptest.Holds(lawTraffic)},
	{Name: "nodes", Body: grouptest.Holds(lawNodes)},
}

var sizes = []int{1, 2, 3, 4, 8}

func TestLaws(t *testing.T) { grouptest.RunLaws(t, sizes, laws) }

// lengths of vectors: none, fewer than ranks, not a multiple of the ranks, a multiple, and past one stretch of the sum.
var lengths = []int{0, 1, 2, 5, 7, 24, 1000, 24_000, 50_001}

// terms is draw with numbers at every third place whose sum over three ranks or more depends on the order of adding, also in
// float64: 1e30 takes the small numbers before it, not those after it has gone.
func terms(rank, n int) []float32 {
	x := grouptest.Draw(rank, n)
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
	x, want := grouptest.Draw(0, 1000), grouptest.Draw(0, 1000)
	if err := newMean(g, len(x)).Average(x); err != nil {
		return err
	}
	if collective.Digest(x) != collective.Digest(want) {
		return errors.New("the mean of equal vectors is another one")
	}
	return nil
}

// Means in a row, with nothing between them. Fails if one rank continues with the next while others still read the memory that they share.
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
			weights := grouptest.Draw(l, 1000)
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
		{"mean", collective.Gradients, collective.AllreduceBytes(n, g.Size()), func(g collective.Group) error {
			return newMean(g, n).Average(grouptest.Draw(0, n))
		}},
		{"sum", collective.Evaluation, 8 * 3 * others, func(g collective.Group) error {
			return collective.Sum(g, make([]float64, 3))
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
