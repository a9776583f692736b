package collective

// blocks carries a block from every rank to every other. Ranks of a node read each other's where they were written.
type blocks struct {
	group Group
	size  int    // bytes of a block
	rows  []byte // (node's ranks, ranks, size): the node's
	comes []byte // (ranks, node's ranks, size), the node's: from ranks of other nodes; empty where there are none
}

func newBlocks(g Group, size int) (b *blocks, err error) {
	b = &blocks{group: g, size: size}
	if b.rows, err = byteMemory(g, g.NodeSize()*g.Size()*size); err != nil {
		return nil, err
	}
	if g.Size() > g.NodeSize() { // on all ranks
		if b.comes, err = byteMemory(g, len(b.rows)); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// shorter carries blocks of fewer bytes in the same memory.
func (b *blocks) shorter(size int) *blocks {
	c := &blocks{group: b.group, size: size, rows: b.rows[:len(b.rows)/b.size*size]}
	c.comes = b.comes[:len(b.comes)/b.size*size]
	return c
}

// goes are this rank's blocks, (ranks, size), to be written before exchange. They may be written again after a barrier of the node's
// that comes after exchange.
func (b *blocks) goes() []byte {
	row := b.group.Size() * b.size
	return b.rows[b.group.NodeRank()*row:][:row]
}

func (b *blocks) exchange() error { return b.group.AlltoallShared(b.comes, b.rows) }

// came is that rank's block for this one, after exchange.
func (b *blocks) came(rank int) []byte {
	me, inNode, n := b.group.Rank(), b.group.NodeRank(), b.group.NodeSize()
	if k := rank - (me - inNode); k >= 0 && k < n {
		return b.rows[(k*b.group.Size()+me)*b.size:][:b.size]
	}
	return b.comes[(rank*n+inNode)*b.size:][:b.size]
}
