package collective_test

import (
	"errors"
	"fmt"

	"lte/collective"
)

// lawNodes: what a node's ranks write to its memory, each its part, all of them read after a barrier; what all ranks gather into it is
// what they gather for themselves, what they send from it comes to each, and so it is compressed, and apart.
//
// Fails if parts overlap or leave something out, if a rank has memory of its own, if a block is put at another's place, and if a
// rank goes on before the others have read what was gathered before (shown by each).
func lawNodes(g collective.Group) error {
	if r, n := g.NodeRank(), g.NodeSize(); r < 0 || r >= n || n > g.Size() {
		return fmt.Errorf("rank %d of %d on the node", r, n)
	}
	const n = 101
	x, err := collective.Memory(g, n)
	if err != nil {
		return err
	}
	from, to := collective.Part(g, n)
	for i := from; i < to; i++ {
		x[i] += float32(i)
	}
	if err := g.NodeBarrier(); err != nil {
		return err
	}
	for i, v := range x {
		if v != float32(i) {
			return fmt.Errorf("number %d of the node's memory is %v", i, v)
		}
	}
	for _, g := range []collective.Group{g, collective.Compressed(g, collective.FP32), collective.Apart(g)} {
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
		if err := lawRows(g, n); err != nil {
			return err
		}
	}
	return nil
}

// lawRows: block i of every rank's row comes to rank i.
func lawRows(g collective.Group, n int) error {
	row, inNode := n*g.Size(), g.NodeRank()
	rows, err := g.NodeMemory(g.NodeSize() * row)
	if err != nil {
		return err
	}
	comes, err := g.NodeMemory(len(rows))
	if err != nil {
		return err
	}
	block := func(from, to int) []byte { return payload(0, from*g.Size()+to, n) }
	for to := range g.Size() {
		copy(rows[inNode*row+to*n:], block(g.Rank(), to))
	}
	if err := g.AlltoallShared(comes, rows); err != nil {
		return err
	}
	first := g.Rank() - inNode
	for from := range g.Size() {
		got := comes[(from*g.NodeSize()+inNode)*n:][:n]
		if k := from - first; k >= 0 && k < g.NodeSize() {
			got = rows[k*row+g.Rank()*n:][:n]
		}
		if string(got) != string(block(from, g.Rank())) {
			return fmt.Errorf("other bytes came from rank %d", from)
		}
	}
	return g.NodeBarrier()
}
