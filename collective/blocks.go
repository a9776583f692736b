package collective

// Blocks sends a block of bytes from every rank to every other. Ranks of a node read each other's blocks where they were written.
type Blocks struct {
	group Group
	size  int    // bytes of a block
	send  []byte // (node's ranks, ranks, size), in the node's memory
	recv  []byte // (ranks, node's ranks, size), in the node's memory: from ranks of other nodes; empty where there are none
}

// NewBlocks allocates the buffers of blocks of that many bytes.
func NewBlocks(g Group, size int) (b *Blocks, err error) {
	b, a := &Blocks{group: g, size: size}, AllocatorOf(g)
	if b.send, err = a.SharedRows(g.Size(), size); err == nil && g.Size() > g.NodeSize() {
		b.recv, err = a.SharedRows(g.Size(), size) // on all ranks
	}
	return b, err
}

// Size is the bytes of a block.
func (b *Blocks) Size() int { return b.size }

// shorter sends blocks of fewer bytes in the same memory.
func (b *Blocks) shorter(size int) *Blocks {
	return &Blocks{group: b.group, size: size, send: b.send[:len(b.send)/b.size*size], recv: b.recv[:len(b.recv)/b.size*size]}
}

// Send is this rank's send buffer, (ranks, size). It may be written again after a node barrier that follows Exchange.
func (b *Blocks) Send() []byte {
	row := b.group.Size() * b.size
	return b.send[b.group.NodeRank()*row:][:row]
}

// Exchange sends the blocks and receives the others'.
func (b *Blocks) Exchange() error { return b.group.AlltoallShared(b.recv, b.send) }

// Received is a rank's block for this one, after Exchange.
func (b *Blocks) Received(rank int) []byte {
	me, inNode, n := b.group.Rank(), b.group.NodeRank(), b.group.NodeSize()
	if k := rank - (me - inNode); k >= 0 && k < n {
		return b.send[(k*b.group.Size()+me)*b.size:][:b.size]
	}
	return b.recv[(rank*n+inNode)*b.size:][:b.size]
}

// Share returns the i-th of parts equal ranges [from, to) of n elements; the last ones are shorter or empty.
func Share(n, i, parts int) (from, to int) {
	each := (n + parts - 1) / parts
	return min(n, i*each), min(n, (i+1)*each)
}

// Part returns the range of n elements that this rank processes for its node.
func Part(g Group, n int) (from, to int) { return Share(n, g.NodeRank(), g.NodeSize()) }
