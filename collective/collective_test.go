package collective_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"lte/collective"
	"lte/collective/grouptest"
)

var racing bool // the race detector is on

// Fails if a buffer is made in every call. Three ranks take all paths: padding, and others to talk to.
func TestNoAllocation(t *testing.T) {
	if racing {
		t.Skip("the race detector allocates")
	}
	const rounds = 500
	grouptest.Run(t, 3, func(g *grouptest.Rank) error {
		m := newMean(g, 1000)
		x, sums := grouptest.Draw(g.Rank(), 1000), make([]float64, 3)
		names, digests := []string{"a", "b"}, []uint64{1, 2}
		var err error
		step := func() {
			collective.Digest(x)
			err = errors.Join(err, m.Average(x), collective.Sum(g, sums),
				collective.CheckLockstep(g, names, digests), collective.Agree(g, nil))
		}
		if g.Rank() > 0 {
			for range rounds + 1 { // AllocsPerRun calls once more to warm up
				step()
			}
			return err
		}
		if n := testing.AllocsPerRun(rounds, step); n > 0 { // on all ranks together
			t.Errorf("%v allocations a step", n)
		}
		return err
	})
}

// newMean is collective.NewMean, which has memory.
func newMean(g collective.Group, length int) *collective.Mean {
	m, err := collective.NewMean(g, length)
	if err != nil {
		panic(err)
	}
	return m
}

// Fails if the bytes are not the little-endian float32s in order, or if an empty slice is special.
func TestDigest(t *testing.T) {
	for _, n := range []int{0, 1, 3, 1000} {
		x := grouptest.Draw(0, n)
		var bytes []byte
		for _, v := range x {
			bytes = binary.LittleEndian.AppendUint32(bytes, math.Float32bits(v))
		}
		if got, want := collective.Digest(x), xxhash.Sum64(bytes); got != want {
			t.Errorf("digest of %d numbers: %#x, want %#x", n, got, want)
		}
	}
	if collective.Digest[float32](nil) != collective.Digest([]float32{}) || collective.Digest[float32](nil) != 0xef46db3751d8e999 { // XXH64's own test
		t.Errorf("digest of nothing: %#x", collective.Digest[float32](nil))
	}
	if collective.Digest([]float32{0}) == collective.Digest([]float32{float32(math.Copysign(0, -1))}) {
		t.Error("0 and −0 have one digest")
	}
}

// Fails if a broken group's error is dropped or no longer to be found under what is returned.
func TestBrokenGroup(t *testing.T) {
	broken, own := errors.New("connection reset"), errors.New("own")
	grouptest.Run(t, 2, func(g *grouptest.Rank) error {
		mean := newMean(g, 3)
		g.Fail(broken)
		agree := collective.Agree(g, own)
		for name, err := range map[string]error{
			"Average":       mean.Average(grouptest.Draw(0, 3)),
			"Sum":           collective.Sum(g, []float64{1}),
			"CheckLockstep": collective.CheckLockstep(g, []string{"a"}, []uint64{1}),
			"Agree":         agree,
		} {
			if !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "collective: ") && name != "Agree" {
				t.Errorf("%s: %v", name, err)
			}
		}
		if !errors.Is(agree, own) {
			t.Errorf("Agree lost the rank's own error: %v", agree)
		}
		return nil
	})
}

// Fails if a long list of layers is printed whole, or cut without saying so.
func TestLongListsOfLayersAreCut(t *testing.T) {
	grouptest.Run(t, 2, func(g *grouptest.Rank) error {
		names, digests := make([]string, 50), make([]uint64, 50)
		for i := range names {
			names[i], digests[i] = fmt.Sprint("layer", i), uint64(g.Rank())
		}
		err := collective.CheckLockstep(g, names, digests)
		if err == nil || strings.Count(err.Error(), "differs") != 8 || !strings.HasSuffix(err.Error(), "; and 42 more") {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
}

// Fails if a misuse is found late, or by another package's panic.
func TestMisuse(t *testing.T) {
	g := collective.Alone{}
	for name, misuse := range map[string]func(){
		"short mean": func() { _ = newMean(g, 4).Average(make([]float32, 3)) },
		"names":      func() { _ = collective.CheckLockstep(g, []string{"a"}, nil) },
	} {
		func() {
			defer func() {
				if said, _ := recover().(string); !strings.HasPrefix(said, "collective: ") {
					t.Errorf("%s: panic %q", name, said)
				}
			}()
			misuse()
		}()
	}
	if g.Allgather(make([]byte, 2), make([]byte, 1)) == nil {
		t.Error("a group of one gathered one byte to two")
	}
}

// Fails if the formula changes: values by hand, one too large for an int32, one whose product by the ranks is for an int64.
func TestAllreduceBytes(t *testing.T) {
	for _, c := range []struct {
		n    int64
		size int
		want int64
	}{{1000, 1, 0}, {1000, 2, 4000}, {1000, 4, 6000}, {1, 3, 5}, {86_000_000, 8, 602_000_000}, {1_000_000_000, 8, 7_000_000_000}, {1 << 59, 1 << 20, 1<<62 - 1<<42}} {
		if got := collective.AllreduceBytes(c.n, c.size); got != c.want {
			t.Errorf("%d numbers, %d ranks: %d bytes, want %d", c.n, c.size, got, c.want)
		}
	}
}
