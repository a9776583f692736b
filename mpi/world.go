// Package mpi is the process group of a run and the only code that touches MPI: ranks, a barrier, the collectives of a run, memory
// shared by the ranks of a node, and an abort of all ranks when one fails. What the messages mean is package collective's business.
//
// Starting, stopping, rank and size come from gompi. The rest is this package's C code, because gompi has no allgather or alltoall,
// checks no return code and knows only blocking calls: 8 ranks on 2 cores lose half their time in those. Here every collective is the
// nonblocking call and a wait that suits the machine: ranks that outnumber the cores sleep, others spin.
//
// MPI runs on one thread. Start makes a goroutine locked to its thread that serves the methods in turn, so they may be called
// from any goroutine; all ranks must still call the same collectives in the same order.
//
// One binary holds one MPI library, chosen when it is built (make MPI=mpich or MPI=openmpi). Without cgo the world has one rank.
package mpi

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"unsafe"
)

// World is the group of all ranks of a run. A process has one.
type World struct {
	rank, size         int // 0 ≤ rank < size
	nodeRank, nodeSize int // 0 ≤ nodeRank < nodeSize ≤ machine.ranks
	nodes              int // 0 < nodes ≤ size
	machine            load
	mostLoaded         load // of the machine with the most ranks per core
	host               string
	sharedMemoryError  error

	mu      sync.Mutex // held while a request is served
	stopped bool
	thread
}

// op is an operation of the MPI thread.
type op int

const (
	barrier op = iota
	allgather
	alltoall
	allgatherShared
	alltoallShared
	nodeBarrier
	nodeAllgather
	yieldWhileWaiting
	stop
)

// request is one call for the MPI thread.
type request struct {
	op       op
	dst, src []byte
	count    int // bytes of a block
}

var errStopped = errors.New("mpi: the world is stopped")

// Rank is this process's number, from 0. However the launcher placed the ranks, those of a node have consecutive numbers.
func (w *World) Rank() int { return w.rank }

// Size is the number of ranks.
func (w *World) Size() int { return w.size }

// NodeRank is this process's number among the ranks that share memory, from 0.
func (w *World) NodeRank() int { return w.nodeRank }

// NodeSize is the number of ranks that share memory with this one.
func (w *World) NodeSize() int { return w.nodeSize }

// SharedMemoryError is why the ranks of a node, as in separate containers, cannot share memory and are nodes by themselves; nil: they can.
func (w *World) SharedMemoryError() error { return w.sharedMemoryError }

// MachineSize is the number of ranks that share cores with this one: those under one kernel, which MPI may see as several nodes.
func (w *World) MachineSize() int { return w.machine.ranks }

// MachineCores is the number of cores that the ranks of this machine may use together, however the launcher bound each of them, and
// no more than their control groups' limit of CPU time.
func (w *World) MachineCores() int { return w.machine.cores }

// MostLoaded is MachineSize and MachineCores of the machine with the most ranks per core.
func (w *World) MostLoaded() (ranks, cores int) { return w.mostLoaded.ranks, w.mostLoaded.cores }

// Host is the machine's host name.
func (w *World) Host() string { return w.host }

// Barrier returns when every rank has called it.
func (w *World) Barrier() error { return w.call(request{op: barrier}) }

// Allgather copies every rank's src into dst, in rank order.
//
// dst is Size × len(src) bytes long, src equally long on all ranks; they do not overlap.
func (w *World) Allgather(dst, src []byte) error { return w.gather("Allgather", allgather, dst, src) }

// AllgatherShared is Allgather into shared memory of the node, from NodeMemory. Only the first rank of each node communicates over
// the network, with the blocks of all its ranks.
func (w *World) AllgatherShared(dst, src []byte) error {
	return w.gather("AllgatherShared", allgatherShared, dst, src)
}

func (w *World) gather(name string, op op, dst, src []byte) error {
	if len(dst) != w.size*len(src) {
		return w.misuse(name, "dst has %d bytes, src %d: %d ranks × %d need %d", len(dst), len(src), w.size, len(src), w.size*len(src))
	}
	return w.exchange(name, request{op: op, dst: dst, src: src, count: len(src)})
}

// Alltoall cuts src into Size equal blocks and sends block i to rank i; dst receives block i from rank i.
//
// dst and src are equally long, a multiple of Size, on all ranks; they do not overlap.
func (w *World) Alltoall(dst, src []byte) error {
	switch {
	case len(dst) != len(src):
		return w.misuse("Alltoall", "dst has %d bytes, src %d: they must be equal", len(dst), len(src))
	case len(src)%w.size != 0:
		return w.misuse("Alltoall", "%d bytes do not divide into %d equal blocks", len(src), w.size)
	}
	return w.exchange("Alltoall", request{op: alltoall, dst: dst, src: src, count: len(src) / w.size})
}

// AlltoallShared is Alltoall in shared memory of the node, from NodeMemory: send is (NodeSize, Size, block), of which this rank has
// written its own row, and recv is (Size, NodeSize, block). Only the first rank of each node communicates over the network; it writes the
// blocks from other nodes into recv. Blocks between ranks of one node are not copied: they are read in send, which may be overwritten
// after the node's next barrier. With one node recv may be empty.
func (w *World) AlltoallShared(recv, send []byte) error {
	block := len(send) / w.nodeSize / w.size
	switch {
	case len(send) != w.nodeSize*w.size*block:
		return w.misuse("AlltoallShared", "%d bytes do not divide into %d rows of %d equal blocks", len(send), w.nodeSize, w.size)
	case len(recv) != len(send) && (len(recv) > 0 || w.nodes > 1):
		return w.misuse("AlltoallShared", "recv has %d bytes, send %d: they must be equal", len(recv), len(send))
	}
	return w.exchange("AlltoallShared", request{op: alltoallShared, dst: recv, src: send, count: block})
}

// YieldWhileWaiting makes later calls of this rank sleep while they wait, as where ranks outnumber cores: for a rank that computes
// while a call is pending.
func (w *World) YieldWhileWaiting() error { return w.call(request{op: yieldWhileWaiting}) }

// exchange serves a collective by MPI, unless it has no bytes or no other rank.
func (w *World) exchange(name string, r request) error {
	switch {
	case r.count > math.MaxInt32:
		return w.misuse(name, "a block of %d bytes is more than MPI counts (%d)", r.count, math.MaxInt32)
	case overlap(r.dst, r.src):
		return w.misuse(name, "the receive and send buffers overlap")
	case r.count == 0:
		return nil
	case w.size == 1:
		return w.alone(func() { copy(r.dst, r.src) })
	}
	return w.call(r)
}

// alone runs a collective of one rank without MPI.
func (w *World) alone(do func()) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return errStopped
	}
	do()
	return nil
}

func (w *World) misuse(op, format string, args ...any) error {
	return fmt.Errorf("mpi: rank %d/%d: %s: %s", w.rank, w.size, op, fmt.Sprintf(format, args...))
}

func overlap(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	pa, pb := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return pa < pb+uintptr(len(b)) && pb < pa+uintptr(len(a))
}

var launcherVariables = []string{"SLURM_NTASKS", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"}

// bytesOf returns the memory of x.
func bytesOf[T int64 | uint64](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 8*len(x))
}

// launcherSize is the number of ranks according to the launcher's environment, and the variable that holds it; 1 without a launcher.
func launcherSize() (n int, variable string) {
	n = 1
	for _, name := range launcherVariables {
		if v, err := strconv.Atoi(os.Getenv(name)); err == nil && v > n {
			n, variable = v, name
		}
	}
	return n, variable
}

// LauncherRank is this process's rank according to the launcher's environment, for use before Start; 0 without a launcher.
func LauncherRank() int {
	for _, name := range []string{"PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"} {
		if rank, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return rank
		}
	}
	return 0
}

// LauncherLocalSize is the number of ranks on this machine according to the launcher's environment, for use before Start; else 1.
func LauncherLocalSize() int {
	for _, name := range []string{"MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "SLURM_STEP_TASKS_PER_NODE"} {
		var n int // SLURM: "4(x2)", "2,1", without which of them is this machine
		if _, err := fmt.Sscanf(os.Getenv(name), "%d", &n); err == nil && n > 0 {
			return n
		}
	}
	return 1
}

// checkLauncher detects a launcher of another MPI library: each of its processes would train alone, as rank 0 of 1.
func checkLauncher(size int, library string) error {
	n, variable := launcherSize()
	if n == 1 || size > 1 {
		return nil
	}
	head := fmt.Sprintf("mpi: the launcher started %d ranks (%s=%d), but this program's MPI library (%s) sees only 1",
		n, variable, n, library)
	run, srun, other := "mpirun.mpich", "srun --mpi=pmi2", "make MPI=openmpi build"
	switch {
	case library == "none":
		return fmt.Errorf("%s: it was built without MPI. Build it with `make build`, or start it without a launcher", head)
	case strings.HasPrefix(library, "Open MPI"):
		run, srun, other = "mpirun.openmpi", "srun --mpi=pmix", "make MPI=mpich build"
	}
	if variable == "SLURM_NTASKS" {
		run += " or " + srun
	}
	return fmt.Errorf("%s: use %s, or build for the launcher's library with `%s`. To run one rank alone, unset %s",
		head, run, other, variable)
}
