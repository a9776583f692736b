package grouptest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"lte/collective"
)

// Law is a property that holds on every rank of a group of any size. Its body runs on all ranks at once.
type Law struct {
	Name string
	Body func(t *testing.T, g collective.Group)
}

// Holds is the body of a law that returns what breaks it.
func Holds(body func(g collective.Group) error) func(t *testing.T, g collective.Group) {
	return func(t *testing.T, g collective.Group) {
		if err := body(g); err != nil {
			t.Errorf("rank %d/%d: %v", g.Rank(), g.Size(), err)
		}
	}
}

// RunLaws checks every law, a subtest of its name, alone and in groups of goroutines of the other sizes.
func RunLaws(t *testing.T, sizes []int, laws []Law) {
	for _, law := range laws {
		t.Run(law.Name, func(t *testing.T) {
			for _, size := range sizes {
				t.Run(fmt.Sprintf("ranks=%d", size), func(t *testing.T) {
					if size == 1 {
						law.Body(t, collective.Alone{})
						return
					}
					Run(t, size, func(g *Rank) error {
						law.Body(t, g)
						return nil
					})
				})
			}
		})
	}
}

// CheckLaws checks every law, a subtest of its name, in a group of which the caller is a rank. It ends the test at the first that fails,
// as the other ranks may be waiting.
func CheckLaws(t *testing.T, g collective.Group, laws []Law) {
	for _, law := range laws {
		if !t.Run(law.Name, func(t *testing.T) { law.Body(t, g) }) {
			t.FailNow()
		}
	}
}

// Draw is a rank's vector of n values of very different magnitudes: any rank can draw any other's.
func Draw(rank, n int) []float32 {
	source := rand.New(rand.NewPCG(uint64(rank), uint64(n)))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(source.NormFloat64() * math.Exp(4*source.NormFloat64()))
	}
	return x
}

// CheckNode returns an error unless what all ranks gather into a node's memory is what each of them sent, and what they send one another
// from it reaches the right rank.
func CheckNode(g collective.Group) error {
	const n = 101
	shared, err := g.NodeMemory(4 * n * g.Size())
	if err != nil {
		return err
	}
	for round := range 3 {
		want, src := make([]byte, len(shared)), make([]byte, 4*n)
		for k := range g.Size() {
			for i := range src {
				want[k*len(src)+i] = byte(k + i*i + 7*round)
			}
		}
		copy(src, want[g.Rank()*len(src):])
		if err := g.AllgatherShared(shared, src); err != nil {
			return err
		}
		if string(shared) != string(want) {
			return errors.New("other bytes were gathered into the node's memory")
		}
	}
	return checkRows(g, n)
}

// checkRows returns an error unless block i of every rank's row reaches rank i.
func checkRows(g collective.Group, n int) error {
	row, inNode := n*g.Size(), g.NodeRank()
	rows, err := g.NodeMemory(g.NodeSize() * row)
	if err != nil {
		return err
	}
	recv, err := g.NodeMemory(len(rows))
	if err != nil {
		return err
	}
	block := func(from, to int) []byte { return Noise(from*g.Size()+to, n) }
	for to := range g.Size() {
		copy(rows[inNode*row+to*n:], block(g.Rank(), to))
	}
	if err := g.AlltoallShared(recv, rows); err != nil {
		return err
	}
	first := g.Rank() - inNode
	for from := range g.Size() {
		got := recv[(from*g.NodeSize()+inNode)*n:][:n]
		if k := from - first; k >= 0 && k < g.NodeSize() {
			got = rows[k*row+g.Rank()*n:][:n]
		}
		if string(got) != string(block(from, g.Rank())) {
			return fmt.Errorf("other bytes came from rank %d", from)
		}
	}
	return g.NodeBarrier()
}

// Noise is n bytes, different for every rank.
func Noise(rank, n int) []byte {
	x := make([]byte, n)
	for i := range x {
		x[i] = byte((uint64(rank*n+i) + 1) * 0x9e3779b97f4a7c15 >> 56)
	}
	return x
}
