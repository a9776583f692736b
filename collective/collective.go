// Package collective is what the program asks of a group of processes: collectives, means with the same bits on all ranks, memory that the
// ranks of a node share, agreement on failures, the consistency check of the weights, and the traffic meter. How bytes travel is left to
// the group (package mpi's World, or Alone); what is exchanged for a merge is in package merge.
//
// # Same bits everywhere
//
// No sum is left to the MPI library, whose order of additions may change with the size of the message, the transport and the rank.
// Values only travel; every rank adds them in order of rank.
//
// All functions that take a Group, and the methods of what was made with one, are collective: every rank calls the same ones in the same
// order with the same lengths. Once the first calls have sized the buffers they allocate nothing. An error of the group itself (a
// transport that failed) may reach one rank alone: end the job then.
//
// Source, for the ring allreduce: Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms for clusters of workstations (JPDC 69,
// 2009).
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
	// Allgather copies every rank's src to dst, in order of rank: len(dst) == Size·len(src), no overlap.
	Allgather(dst, src []byte) error
	// Alltoall cuts src into Size equal blocks and sends block i to rank i; dst receives block i from rank i. No overlap.
	Alltoall(dst, src []byte) error
	// Ranks that share memory with this one are a node; in the group they follow one another. NodeRank is this one's number among
	// them, 0 ≤ NodeRank < NodeSize.
	NodeRank() int
	NodeSize() int
	// NodeBarrier returns when every rank of the node has called it: what they have written to shared memory can then be read.
	NodeBarrier() error
	// NodeMemory allocates that many bytes, 0 at first, which the ranks of a node share. All ranks of the group ask for as many, and
	// all get an error if one does; see Allocator.
	NodeMemory(bytes int) ([]byte, error)
	// AllgatherShared is Allgather to a dst in NodeMemory. It returns when all ranks of the node have called it.
	AllgatherShared(dst, src []byte) error
	// AlltoallShared is Alltoall in NodeMemory: of send (NodeSize, Size, block), of which this rank has written its own row, to recv
	// (Size, NodeSize, block). Blocks between ranks of the node are not moved: they are read in send, until the node's next barrier.
	// Where there are no other nodes recv may be empty.
	AlltoallShared(recv, send []byte) error
	// YieldWhileWaiting makes later collectives sleep instead of spin: for ranks that compute while a call is pending.
	YieldWhileWaiting() error
}

// Number is a type whose values travel as their memory.
type Number interface{ float32 | uint64 | byte }

// Allgather is the group's, of slices of T.
func Allgather[T Number](g Group, dst, src []T) error { return g.Allgather(Bytes(dst), Bytes(src)) }

// Bytes is the memory of x.
func Bytes[T Number](x []T) []byte {
	var one T
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(one)))
}

// Floats is the inverse of Bytes.
func Floats(x []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(x))), len(x)/4)
}

var errLengths = errors.New("collective: a group of one has dst as long as src")

// Alone is a group of one rank, which needs no launcher: it waits for nobody, and copies src to dst.
type Alone struct{}

func (Alone) Rank() int                             { return 0 }
func (Alone) Size() int                             { return 1 }
func (Alone) NodeRank() int                         { return 0 }
func (Alone) NodeSize() int                         { return 1 }
func (Alone) Barrier() error                        { return nil }
func (Alone) NodeBarrier() error                    { return nil }
func (Alone) YieldWhileWaiting() error              { return nil }
func (Alone) NodeMemory(bytes int) ([]byte, error)  { return make([]byte, bytes), nil }
func (Alone) Allgather(dst, src []byte) error       { return pass(dst, src) }
func (Alone) Alltoall(dst, src []byte) error        { return pass(dst, src) }
func (Alone) AllgatherShared(dst, src []byte) error { return pass(dst, src) }
func (Alone) AlltoallShared(_, _ []byte) error      { return nil } // the block is read in the send buffer

func pass(dst, src []byte) error {
	if len(dst) != len(src) {
		return errLengths
	}
	copy(dst, src)
	return nil
}

// AllreduceBytes is the bytes that a ring allreduce of n float32 makes each of size ranks send, rounded down:
//
//	2(N−1)/N·4n
//
// Mean sends the same, plus a padding of less than one element a block.
func AllreduceBytes(n int64, size int) int64 {
	high, low := bits.Mul64(8*uint64(n), uint64(size-1))
	bytes, _ := bits.Div64(high, low, uint64(size))
	return int64(bytes)
}

// WithoutSharedMemory is the group as if no two of its ranks shared memory.
func WithoutSharedMemory(g Group) Group {
	if g.Size() == 1 {
		return g
	}
	return separate{g}
}

type separate struct{ Group }

func (separate) NodeRank() int                            { return 0 }
func (separate) NodeSize() int                            { return 1 }
func (separate) NodeBarrier() error                       { return nil }
func (separate) NodeMemory(bytes int) ([]byte, error)     { return make([]byte, bytes), nil }
func (g separate) AllgatherShared(dst, src []byte) error  { return g.Allgather(dst, src) }
func (g separate) AlltoallShared(recv, send []byte) error { return g.Alltoall(recv, send) }
