package collective_test

import (
	"errors"
	"fmt"

	"lte/collective"
	"lte/collective/grouptest"
)

// lawNodes: what a node's ranks write to its memory, each its part, all of them read after a barrier; what all ranks gather into it is
// what they gather for themselves, and what they send from it reaches each, with and without shared memory.
//
// Fails if parts overlap or leave something out, if a rank has memory of its own, if a block is put at another's place, and if a
// rank continues before the others have read what was gathered before.
func lawNodes(g collective.Group) error {
	if r, n := g.NodeRank(), g.NodeSize(); r < 0 || r >= n || n > g.Size() {
		return fmt.Errorf("rank %d of %d on the node", r, n)
	}
	const n = 101
	memory, err := collective.AllocatorOf(g).Shared(4, n)
	if err != nil {
		return err
	}
	x := collective.Floats(memory)
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
	return errors.Join(grouptest.CheckNode(g), grouptest.CheckNode(collective.WithoutSharedMemory(g)))
}
