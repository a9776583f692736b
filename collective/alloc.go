package collective

import "fmt"

// Footprint is memory in bytes. It is of floats, which hold the product of any sizes.
type Footprint struct {
	Rank float64 // of each rank
	Node float64 // of all ranks of a node together
}

// Allocator allocates the buffers of a rank, of zeros. One that counts returns nil and adds up their bytes: what is built with it has the
// footprint of the same with memory, and must not be used. All ranks of the group make the same calls; an error is all ranks'.
type Allocator struct {
	group   Group
	counted *Footprint // nil: buffers have memory
}

// AllocatorOf allocates memory, which the ranks of a node share if the group's do.
func AllocatorOf(g Group) Allocator { return Allocator{group: g} }

// Counting counts in f.
func Counting(f *Footprint) Allocator { return Allocator{counted: f} }

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
	return ByteMemory(a.group, int(product(sizes)))
}

// SharedRows allocates a row of bytes for each rank of the node, (NodeSize, sizes…), which the ranks of a node share.
func (a Allocator) SharedRows(sizes ...int) ([]byte, error) {
	if a.Counts() {
		a.counted.Rank += product(sizes)
		return nil, nil
	}
	return ByteMemory(a.group, a.group.NodeSize()*int(product(sizes)))
}

func product(sizes []int) float64 {
	n := 1.0
	for _, size := range sizes {
		n *= float64(size)
	}
	return n
}

// Memory allocates n values, 0 at first, which the ranks of a node share. All ranks of the group call it; an error is all ranks'.
func Memory(g Group, n int) ([]float32, error) {
	bytes, err := ByteMemory(g, 4*n)
	return Floats(bytes), err
}

// ByteMemory is Memory of n bytes.
func ByteMemory(g Group, n int) ([]byte, error) {
	bytes, err := g.NodeMemory(n)
	if err != nil {
		return nil, fmt.Errorf("%w; set exchange.share_memory = false so that every rank has a copy of its own", err)
	}
	return bytes, nil
}
