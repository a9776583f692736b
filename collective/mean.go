package collective

import "fmt"

// Mean replaces a vector on every rank by the mean over the ranks, with the same bits on all of them under every MPI. Each rank
// adds one block for all:
//
//	Alltoall     rank i receives block i of every rank
//	sum          in order of rank, in float64; the mean is rounded once
//	Allgather    every node receives every block's mean, once
//
// Because of the float64, numbers that are equal on all ranks keep their bits.
type Mean struct {
	group  Group
	length int
	block  int       // ⌈length/size⌉: the last blocks may be padding
	padded []float32 // (size·block), the vector with its padding; empty if it needs none
	parts  []float32 // (size, block), this rank's block from every rank
	mean   []float32 // (block)
	means  []float32 // (size·block), the node's
}

// NewMean makes a mean of vectors of that length, the same on all ranks.
func NewMean(g Group, length int) (*Mean, error) {
	m := &Mean{group: g, length: length}
	size := g.Size()
	if size == 1 {
		return m, nil
	}
	m.block = (length + size - 1) / size
	m.parts = make([]float32, size*m.block)
	m.mean = make([]float32, m.block)
	if size*m.block != length {
		m.padded = make([]float32, size*m.block)
	}
	var err error
	if m.means, err = Memory(g, size*m.block); err != nil {
		return nil, fmt.Errorf("collective: room for the mean: %w", err)
	}
	return m, nil
}

// Average replaces x (length) by its mean over the ranks. After an error x is of no use.
func (m *Mean) Average(x []float32) error {
	if len(x) != m.length {
		panic("collective: mean of another length")
	}
	if m.group.Size() == 1 || len(x) == 0 {
		return nil
	}
	whole := x // (size·block)
	if len(m.padded) > 0 {
		whole = m.padded
		copy(whole, x)
	}
	if err := Alltoall(m.group, m.parts, whole); err != nil {
		return fmt.Errorf("collective: mean, sending parts: %w", err)
	}
	addUp(m.mean, m.parts, float64(m.group.Size()))
	if err := m.group.AllgatherShared(raw(m.means), raw(m.mean)); err != nil {
		return fmt.Errorf("collective: mean, gathering blocks: %w", err)
	}
	copy(x, m.means)
	return nil
}

// addUp sets dst (block) to the sum over the rows of parts (size, block), added from the first to the last, over divisor.
func addUp(dst, parts []float32, divisor float64) {
	block := len(dst)
	var sums [512]float64 // a stretch of the block: it stays in the cache while the rows pass
	for begin := 0; begin < block; begin += len(sums) {
		out := dst[begin:min(begin+len(sums), block)]
		sum := sums[:len(out)]
		clear(sum)
		for k := 0; k < len(parts); k += block {
			row := parts[k+begin:][:len(sum)]
			for i, v := range row {
				sum[i] += float64(v)
			}
		}
		for i, s := range sum {
			out[i] = float32(s / divisor)
		}
	}
}
