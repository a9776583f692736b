// Package collective is what the algorithm asks of a group of processes: the exchange of factors for a merge, the dense mean, the
// proof that all ranks hold the same weights, memory that a node has in common, and the agreement on whether a rank failed. How bytes travel is left to the
// group (package mpi's World, or Alone), what is done with the result to package train.
//
// # Traffic
//
// One linear layer of m outputs and n inputs, rank r, N heads on N ranks; numbers that one rank receives for one merge:
//
//	gathered factors        (N−1)·r(m+n)
//	dense ring allreduce    2(N−1)/N·mn
//
// so the factors are the cheaper way while N·r < 2mn/(m+n): the ranks of all heads together stay below the harmonic mean of the
// layer's two sides. Both ways are exact; a rank sends what it receives.
//
// A number takes 32 bits, or by Wire 16, 8¼ or 4¼: then changes travel, rounded, and what was dropped is sent with the next.
// Compressed makes messages shorter still, without loss.
//
// # Same bits everywhere
//
// No sum is left to the MPI library, whose order of adding may change with the size of the message, the transport and the rank.
// Numbers only travel; every rank adds them in order of rank.
//
// All functions that take a Group, and the methods of what was made with one, are collective: every rank calls the same ones in
// the same order with the same lengths. Once the first calls have sized the buffers they allocate nothing. An error of the
// group's own (a transport that failed) may reach one rank alone: end the job then.
//
// Sources: Huh et al., Training Neural Networks from Scratch with Parallel Low-Rank Adapters (arXiv 2402.16828), algorithm 1; for
// the ring allreduce, Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms for clusters of workstations (JPDC 69, 2009).
package collective

import (
	"errors"
	"math/bits"
	"unsafe"
)

// Group is a group of processes. All of them make the same calls in the same order. It carries bytes: the ranks of a run
// have one byte order.
type Group interface {
	Rank() int // of this process, 0 ≤ Rank < Size
	Size() int
	// Barrier returns when every rank has called it.
	Barrier() error
	// Allgather puts every rank's src into dst, in order of rank: len(dst) == Size·len(src), no overlap.
	Allgather(dst, src []byte) error
	// Alltoall cuts src into Size equal blocks and sends block i to rank i; dst receives block i from rank i. No overlap.
	Alltoall(dst, src []byte) error
	// Ranks that share memory with this one are a node; in the group they follow one another. NodeRank is this one's number among
	// them, 0 ≤ NodeRank < NodeSize.
	NodeRank() int
	NodeSize() int
	// NodeBarrier returns when every rank of the node has called it: what they have written to the node's memory is then there.
	NodeBarrier() error
	// NodeMemory is that many bytes, 0 at first, which the node's ranks have in common. All ranks of the group ask for as many, and
	// all get an error if one does; see Memory.
	NodeMemory(bytes int) ([]byte, error)
	// AllgatherShared is Allgather, with a dst that is the node's memory. It waits until all of the node's ranks have called it.
	AllgatherShared(dst, src []byte) error
	// AlltoallShared is Alltoall in the node's memory: of rows (NodeSize, Size, block), of which this rank has written its own, into
	// comes (Size, NodeSize, block). Blocks that the node's ranks send one another are not moved: they are read in the rows, until
	// the node's next barrier. Where no others come comes may be empty.
	AlltoallShared(comes, rows []byte) error
	// Patient makes every wait leave its core to others from now on: for those who compute while a call is under way.
	Patient() error
}

// Number is what travels as it lies in memory.
type Number interface{ float32 | uint64 }

// Allgather is the group's, of numbers.
func Allgather[T Number](g Group, dst, src []T) error { return g.Allgather(raw(dst), raw(src)) }

// Alltoall is the group's, of numbers.
func Alltoall[T Number](g Group, dst, src []T) error { return g.Alltoall(raw(dst), raw(src)) }

// raw is x as the bytes that it lies in.
func raw[T Number](x []T) []byte {
	var one T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(one)))
}

// numbers undoes raw.
func numbers(x []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(x))), len(x)/4)
}

// Alone is the group of one, which needs no launcher.
type Alone struct{}

var errLengths = errors.New("collective: a group of one has dst as long as src")

// Rank is 0.
func (Alone) Rank() int { return 0 }

// Size is 1.
func (Alone) Size() int { return 1 }

// Barrier waits for nobody.
func (Alone) Barrier() error { return nil }

// Allgather copies src to dst.
func (Alone) Allgather(dst, src []byte) error { return pass(dst, src) }

// Alltoall copies src to dst.
func (Alone) Alltoall(dst, src []byte) error { return pass(dst, src) }

// NodeRank is 0.
func (Alone) NodeRank() int { return 0 }

// NodeSize is 1.
func (Alone) NodeSize() int { return 1 }

// NodeBarrier waits for nobody.
func (Alone) NodeBarrier() error { return nil }

// NodeMemory is its own.
func (Alone) NodeMemory(bytes int) ([]byte, error) { return make([]byte, bytes), nil }

// AllgatherShared copies src to dst.
func (Alone) AllgatherShared(dst, src []byte) error { return pass(dst, src) }

// AlltoallShared moves nothing: what this rank wrote is where it is read.
func (Alone) AlltoallShared(comes, rows []byte) error { return nil }

// Patient changes nothing: nobody is waited for.
func (Alone) Patient() error { return nil }

func pass(dst, src []byte) error {
	if len(dst) != len(src) {
		return errLengths
	}
	copy(dst, src)
	return nil
}

// AllreduceBytes is what a ring allreduce of n float32 makes each of size ranks send, rounded down:
//
//	2(N−1)/N·4n
//
// Mean sends the same, but for its padding of less than one number a block.
func AllreduceBytes(n int64, size int) int64 {
	high, low := bits.Mul64(8*uint64(n), uint64(size-1))
	bytes, _ := bits.Div64(high, low, uint64(size))
	return int64(bytes)
}
