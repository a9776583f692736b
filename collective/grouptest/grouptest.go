// Package grouptest is a process group of goroutines, for tests without a launcher.
package grouptest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

// group is the goroutines of a run, or those of one of its nodes.
type group struct {
	mu      sync.Mutex
	turn    sync.Cond
	size    int
	arrived int // at the present barrier
	round   int // barriers passed
	left    bool
	parts   [][]byte // what each rank sends
	nodes   []*group // of ranks that share memory
	perNode int
}

// Rank is one rank of a group of goroutines, two of which are a node; it is a collective.Group.
type Rank struct {
	*group
	rank   int
	buffer []byte
	fail   error
}

// Fail makes every later collective of this rank return err at once.
func (m *Rank) Fail(err error) { m.fail = err }

var errLeft = errors.New("a rank has left")

func newGroup(size int) *group {
	g := &group{size: size, parts: make([][]byte, size)}
	g.turn.L = &g.mu
	return g
}

// Run runs body on size goroutines, each a rank; two of them are a node, and the last node may have one. A rank that fails, or ends its
// goroutine by t.FailNow, does not leave the others waiting.
func Run(t *testing.T, size int, body func(g *Rank) error) {
	t.Helper()
	all := newGroup(size)
	all.perNode = 2
	for first := 0; first < size; first += all.perNode {
		all.nodes = append(all.nodes, newGroup(min(all.perNode, size-first)))
	}
	var wait sync.WaitGroup
	for rank := range size {
		wait.Go(func() {
			m := &Rank{group: all, rank: rank}
			defer all.leave()
			defer m.node().leave()
			if err := body(m); err != nil {
				t.Errorf("rank %d/%d: %v", rank, size, err)
			}
		})
	}
	wait.Wait()
}

func (g *group) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.left = true
	g.turn.Broadcast()
}

func (g *group) meet() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	round := g.round
	if g.arrived++; g.arrived == g.size {
		g.arrived = 0
		g.round++
		g.turn.Broadcast()
		return nil
	}
	for g.round == round {
		if g.left {
			return errLeft
		}
		g.turn.Wait()
	}
	return nil
}

// Rank is this rank's number.
func (m *Rank) Rank() int { return m.rank }

// Size is the number of ranks.
func (m *Rank) Size() int { return m.size }

// YieldWhileWaiting changes nothing.
func (m *Rank) YieldWhileWaiting() error { return nil }

func (m *Rank) node() *group { return m.nodes[m.rank/m.perNode] }

// NodeRank is 0 or 1.
func (m *Rank) NodeRank() int { return m.rank % m.perNode }

// NodeSize is 2, or 1 for the last of an odd number.
func (m *Rank) NodeSize() int { return m.node().size }

// NodeBarrier waits for the ranks of the node.
func (m *Rank) NodeBarrier() error { return m.node().meet() }

// NodeMemory allocates memory that the ranks of a node share.
func (m *Rank) NodeMemory(bytes int) ([]byte, error) {
	if m.NodeRank() == 0 {
		m.node().parts[0] = make([]byte, bytes)
	}
	if err := m.NodeBarrier(); err != nil {
		return nil, err
	}
	memory := m.node().parts[0]
	return memory, m.NodeBarrier()
}

// AllgatherShared waits for the node, as real groups may.
func (m *Rank) AllgatherShared(dst, src []byte) error {
	if m.fail != nil {
		return m.fail
	}
	if err := m.NodeBarrier(); err != nil {
		return err
	}
	if len(m.buffer) < len(dst) {
		m.buffer = make([]byte, len(dst))
	}
	if err := m.Allgather(m.buffer[:len(dst)], src); err != nil {
		return err
	}
	if m.NodeRank() == 0 {
		copy(dst, m.buffer)
	}
	return m.NodeBarrier()
}

// AlltoallShared leaves the blocks of the node where they were written.
func (m *Rank) AlltoallShared(comes, rows []byte) error {
	if m.fail != nil {
		return m.fail
	}
	row := len(rows) / m.NodeSize()
	if len(m.buffer) < row {
		m.buffer = make([]byte, row)
	}
	came := m.buffer[:row]
	if err := m.Alltoall(came, rows[m.NodeRank()*row:][:row]); err != nil {
		return err
	}
	for k, n := 0, row/m.size; k < m.size && m.size > m.NodeSize(); k++ {
		if k/m.perNode != m.rank/m.perNode {
			copy(comes[(k*m.NodeSize()+m.NodeRank())*n:], came[k*n:(k+1)*n])
		}
	}
	return m.NodeBarrier()
}

// Barrier waits for all ranks.
func (m *Rank) Barrier() error {
	if m.fail != nil {
		return m.fail
	}
	return m.meet()
}

// Allgather copies.
func (m *Rank) Allgather(dst, src []byte) error {
	return m.swap(dst, src, func(from []byte) []byte { return from })
}

// Alltoall copies.
func (m *Rank) Alltoall(dst, src []byte) error {
	if len(src)%m.size != 0 {
		return fmt.Errorf("%d bytes for %d ranks", len(src), m.size)
	}
	n := len(src) / m.size
	return m.swap(dst, src, func(from []byte) []byte { return from[m.rank*n : (m.rank+1)*n] })
}

// swap puts into dst what part chooses of every rank's src.
func (m *Rank) swap(dst, src []byte, part func([]byte) []byte) error {
	if m.fail != nil {
		return m.fail
	}
	m.parts[m.rank] = src
	if err := m.meet(); err != nil {
		return err
	}
	if n := len(part(src)); len(dst) != n*m.size {
		return fmt.Errorf("dst has %d bytes for %d of %d", len(dst), m.size, n)
	}
	for k, from := range m.parts {
		n := len(part(from))
		copy(dst[k*n:(k+1)*n], part(from))
	}
	return m.meet()
}
