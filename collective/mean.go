package collective

import "fmt"

// Mean replaces a vector on every rank by the mean over the ranks, with the same bits on all of them under every MPI. Each rank
// adds one block for all:
//
//	Alltoall     rank i receives block i of every rank
//	sum          in order of rank, in float64; the mean is rounded once
//	Allgather    every node receives every block's mean, once
//
// Because of the float64, elements that are equal on all ranks keep their bits.
type Mean struct {
	group  Group
	length int
	blocks *Blocks     // of ⌈length/size⌉ elements: the last may be padding
	parts  [][]float32 // (size, block), this rank's block from every rank
	mean   []float32   // (block)
	means  []float32   // (size·block), in the node's memory
}

// NewMean makes a mean of vectors of that length, the same on all ranks.
func NewMean(g Group, length int) (*Mean, error) {
	m, a, ranks := &Mean{group: g, length: length}, AllocatorOf(g), g.Size()
	if ranks == 1 {
		return m, nil
	}
	block := (length + ranks - 1) / ranks
	m.mean = a.Floats(block)
	blocks, err := NewBlocks(g, 4*block)
	means := blocks.recv // these blocks have been added up before the means arrive
	if err == nil && ranks <= g.NodeSize() {
		means, err = a.Shared(ranks, 4*block)
	}
	if err != nil {
		return nil, fmt.Errorf("collective: buffers of a mean: %w", err)
	}
	if m.blocks = blocks; a.Counts() {
		return m, nil
	}
	m.means = Floats(means)[:ranks*block]
	for rank := range ranks {
		m.parts = append(m.parts, Floats(m.blocks.Received(rank)))
	}
	return m, nil
}

// Average replaces x (length) by its mean over the ranks. After an error x is undefined.
func (m *Mean) Average(x []float32) error {
	if len(x) != m.length {
		panic("collective: mean of another length")
	}
	if m.group.Size() == 1 || len(x) == 0 {
		return nil
	}
	copy(Floats(m.blocks.Send()), x)
	if err := m.blocks.Exchange(); err != nil {
		return fmt.Errorf("collective: mean, sending parts: %w", err)
	}
	SumParts(m.mean, m.parts, float64(m.group.Size()))
	if err := m.group.AllgatherShared(Bytes(m.means), Bytes(m.mean)); err != nil {
		return fmt.Errorf("collective: mean, gathering blocks: %w", err)
	}
	copy(x, m.means)
	return nil
}

// SumParts sets dst (block) to the sum of parts (n, block), added in order in float64, divided by divisor.
func SumParts(dst []float32, parts [][]float32, divisor float64) {
	var sums [512]float64 // a piece of the block that stays in the cache
	for begin := 0; begin < len(dst); begin += len(sums) {
		out := dst[begin:min(begin+len(sums), len(dst))]
		sum := sums[:len(out)]
		clear(sum)
		for _, part := range parts {
			for i, v := range part[begin:][:len(sum)] {
				sum[i] += float64(v)
			}
		}
		for i, s := range sum {
			out[i] = float32(s / divisor)
		}
	}
}
