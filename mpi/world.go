// Package mpi is the process group of a run and the only code that touches MPI: who is here, a barrier, two collectives, and an
// end for all ranks when one fails. What the ranks say to one another is package collective's business.
//
// Starting, stopping, rank and size come from gompi. The rest is own C, because gompi has no allgather or alltoall, checks no
// return code and knows only blocking calls: 8 ranks on 2 cores lose half their time in those. Here every collective is the
// nonblocking call and a wait that suits the node: ranks that outnumber the cores sleep, others spin.
//
// MPI runs on one thread. Start makes a goroutine locked to its thread that serves the methods in turn, so they may be called
// from any goroutine; all ranks must still call the same collectives in the same order.
//
// One binary holds one MPI library, chosen when it is built (make MPI=mpich or MPI=openmpi). Without cgo there is a world of one
// rank.
package mpi

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// World is the group of all ranks of a run. There is one a process.
type World struct {
	rank, size                    int // 0 ≤ rank < size
	nodeRank, nodeSize, nodeCores int // 0 ≤ nodeRank < nodeSize ≤ size
	host                          string
	sent                          atomic.Int64 // bytes

	mu      sync.Mutex // one request at a time; held while it is served
	stopped bool
	thread
}

// op is what a method asks of the MPI thread.
type op int

const (
	barrier op = iota
	allgather
	allgatherUint64
	alltoall
	stop
)

// request is one call for the MPI thread.
type request struct {
	op           op
	dst, src     []float32
	dst64, src64 []uint64
	count        int   // elements a rank, as MPI counts them
	sends        int64 // bytes for other ranks
}

var errStopped = errors.New("mpi: the world is stopped")

// Rank is this process's number among all, from 0.
func (w *World) Rank() int { return w.rank }

// Size is the number of ranks.
func (w *World) Size() int { return w.size }

// NodeRank is this process's number among the ranks on its machine, from 0.
func (w *World) NodeRank() int { return w.nodeRank }

// NodeSize is the number of ranks on this machine.
func (w *World) NodeSize() int { return w.nodeSize }

// NodeCores is the number of cores that this machine's ranks may use together, however the launcher bound each of them.
func (w *World) NodeCores() int { return w.nodeCores }

// Host is this machine's name.
func (w *World) Host() string { return w.host }

// Sent is the number of bytes that this rank has handed to MPI for others so far: its part times the other ranks in an
// allgather, all blocks but its own in an alltoall, nothing in a barrier. What the network carries depends on the algorithm
// that the MPI library chooses.
func (w *World) Sent() int64 { return w.sent.Load() }

// Barrier returns when every rank has called it.
func (w *World) Barrier() error { return w.call(request{op: barrier}) }

// Allgather puts every rank's src into dst, in rank order.
//
// dst has Size × len(src) elements, src equally many on all ranks; they do not overlap.
func (w *World) Allgather(dst, src []float32) error {
	if err := checkAllgather(w, "float32", dst, src); err != nil || len(src) == 0 {
		return err
	}
	if w.size == 1 {
		return w.alone(func() { copy(dst, src) })
	}
	return w.call(request{op: allgather, dst: dst, src: src, count: len(src), sends: 4 * int64(len(src)) * int64(w.size-1)})
}

// AllgatherUint64 is Allgather for uint64.
func (w *World) AllgatherUint64(dst, src []uint64) error {
	if err := checkAllgather(w, "uint64", dst, src); err != nil || len(src) == 0 {
		return err
	}
	if w.size == 1 {
		return w.alone(func() { copy(dst, src) })
	}
	return w.call(request{op: allgatherUint64, dst64: dst, src64: src, count: len(src), sends: 8 * int64(len(src)) * int64(w.size-1)})
}

// Alltoall cuts src into Size equal blocks and sends block i to rank i; dst receives block i from rank i.
//
// dst and src have equally many elements, a multiple of Size, on all ranks; they do not overlap.
func (w *World) Alltoall(dst, src []float32) error {
	block := len(src) / w.size // elements
	switch {
	case len(dst) != len(src):
		return w.misuse("Alltoall", "float32", "dst has %d elements, src %d: they must be equal", len(dst), len(src))
	case len(src)%w.size != 0:
		return w.misuse("Alltoall", "float32", "%d elements do not divide into %d equal blocks", len(src), w.size)
	case block > math.MaxInt32:
		return w.misuse("Alltoall", "float32", "a block of %d elements is more than MPI counts (%d)", block, math.MaxInt32)
	case overlap(dst, src):
		return w.misuse("Alltoall", "float32", "dst and src overlap")
	case len(src) == 0:
		return nil
	case w.size == 1:
		return w.alone(func() { copy(dst, src) })
	}
	return w.call(request{op: alltoall, dst: dst, src: src, count: block, sends: 4 * int64(block) * int64(w.size-1)})
}

// alone does a collective of one rank without MPI.
func (w *World) alone(do func()) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return errStopped
	}
	do()
	return nil
}

func checkAllgather[T float32 | uint64](w *World, kind string, dst, src []T) error {
	switch {
	case len(src) > math.MaxInt32:
		return w.misuse("Allgather", kind, "%d elements are more than MPI counts (%d)", len(src), math.MaxInt32)
	case len(dst) != w.size*len(src):
		return w.misuse("Allgather", kind, "dst has %d elements, src %d: %d ranks × %d need %d",
			len(dst), len(src), w.size, len(src), w.size*len(src))
	case overlap(dst, src):
		return w.misuse("Allgather", kind, "dst and src overlap")
	}
	return nil
}

func (w *World) misuse(op, kind, format string, args ...any) error {
	return fmt.Errorf("mpi: rank %d/%d: %s of %s: %s", w.rank, w.size, op, kind, fmt.Sprintf(format, args...))
}

func overlap[T float32 | uint64](a, b []T) bool {
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	width := unsafe.Sizeof(a[0])
	pa, pb := uintptr(unsafe.Pointer(&a[0])), uintptr(unsafe.Pointer(&b[0]))
	return pa < pb+uintptr(len(b))*width && pb < pa+uintptr(len(a))*width
}

var launcherVariables = []string{"SLURM_NTASKS", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"}

// launched is the number of ranks a launcher says it started, and the variable that says so; 1 without a launcher.
func launched() (n int, variable string) {
	n = 1
	for _, name := range launcherVariables {
		if v, err := strconv.Atoi(os.Getenv(name)); err == nil && v > n {
			n, variable = v, name
		}
	}
	return n, variable
}

// FirstOfLaunch says whether this process is rank 0 by the launcher's word, before MPI is up; without a launcher it is.
func FirstOfLaunch() bool {
	for _, name := range []string{"PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"} {
		if rank, ok := os.LookupEnv(name); ok {
			return rank == "0"
		}
	}
	return true
}

// LaunchedHere is the number of ranks that the launcher put on this machine, by its word, before MPI is up; 1 where it
// says nothing.
func LaunchedHere() int {
	for _, name := range []string{"MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "SLURM_STEP_TASKS_PER_NODE"} {
		var n int // SLURM: "4(x2)", "2,1"; which of them this machine is, it does not say
		if _, err := fmt.Sscanf(os.Getenv(name), "%d", &n); err == nil && n > 0 {
			return n
		}
	}
	return 1
}

// checkLauncher finds the launcher of another MPI: each of its processes would train alone, as rank 0 of 1.
func checkLauncher(size int, library string) error {
	n, variable := launched()
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
