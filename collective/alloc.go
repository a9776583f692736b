package collective

import "fmt"

// Footprint is memory in bytes. It is of floats, which hold the product of any sizes.
type Footprint struct {
	Rank float64 // of each rank
	Node float64 // of all ranks of a node together
}

// counting is a group of ranks that do not exist, whose buffers are counted.
type counting struct {
	Group          // nil: it carries nothing
	ranks, perNode int
	counted        *Footprint
}

// Counting returns a group of so many ranks, of which perNode share the memory of a node. What is made with it has no memory and must not
// be used: f is what the same would allocate.
func Counting(f *Footprint, ranks, perNode int) Group {
	return counting{ranks: ranks, perNode: perNode, counted: f}
}

func (g counting) Size() int     { return g.ranks }
func (g counting) NodeSize() int { return g.perNode }

// Allocator allocates the buffers of a rank, of zeros. That of a Counting group returns nil and adds up their bytes. All ranks of the
// group make the same calls; an error is all ranks'.
type Allocator struct {
	group   Group
	counted *Footprint // nil: buffers have memory
}

// AllocatorOf allocates memory, which the ranks of a node share if the group's do.
func AllocatorOf(g Group) Allocator {
	c, _ := g.(counting)
	return Allocator{group: g, counted: c.counted}
}

// Counts reports whether buffers have no memory.
func (a Allocator) Counts() bool { return a.counted != nil }

// Bytes allocates as many bytes as the product of the sizes.
func (a Allocator) Bytes(sizes ...int) []byte {
	if a.Counts() {
		a.counted.Rank += product(sizes)
		return nil
	}
	return make([]byte, int(product(sizes)))
}

// Floats allocates as many values as the product of the sizes.
func (a Allocator) Floats(sizes ...int) []float32 {
	if a.Counts() {
		a.counted.Rank += 4 * product(sizes)
		return nil
	}
	return make([]float32, int(product(sizes)))
}

// Shared allocates bytes that the ranks of a node share.
func (a Allocator) Shared(sizes ...int) ([]byte, error) {
	if a.Counts() {
		a.counted.Node += product(sizes)
		return nil, nil
	}
	bytes, err := a.group.NodeMemory(int(product(sizes)))
	if err != nil {
		return nil, fmt.Errorf("%w; set exchange.share_memory = false so that every rank has a copy of its own", err)
	}
	return bytes, nil
}

// SharedRows allocates a row of bytes for each rank of the node, (NodeSize, sizes…), which the ranks of a node share.
func (a Allocator) SharedRows(sizes ...int) ([]byte, error) {
	if a.Counts() {
		a.counted.Rank += product(sizes)
		return nil, nil
	}
	return a.Shared(a.group.NodeSize(), int(product(sizes)))
}

func product(sizes []int) float64 {
	n := 1.0
	for _, size := range sizes {
		n *= float64(size)
	}
	return n
}
