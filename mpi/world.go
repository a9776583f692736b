// Package mpi is the process group of a run and the only code that touches MPI: who is here, a barrier, the collectives of a run, memory that
// the ranks of a node share, and an end for all ranks when one fails. What the ranks say to one another is package collective's
// business.
//
// Starting, stopping, rank and size come from gompi. The rest is own C, because gompi has no allgather or alltoall, checks no
// return code and knows only blocking calls: 8 ranks on 2 cores lose half their time in those. Here every collective is the
// nonblocking call and a wait that suits the machine: ranks that outnumber the cores sleep, others spin.
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
	"unsafe"
)

// World is the group of all ranks of a run. There is one a process.
type World struct {
	rank, size                int // 0 ≤ rank < size
	nodeRank, nodeSize        int // 0 ≤ nodeRank < nodeSize ≤ machineSize
	nodes                     int // 0 < nodes ≤ size
	machineSize, machineCores int // machineSize ≤ size
	fullestSize, fullestCores int // of the machine with the most ranks for each core
	host                      string
	unshared                  error

	mu      sync.Mutex // one request at a time; held while it is served
	stopped bool
	thread
}

// op is what a method asks of the MPI thread.
type op int

const (
	barrier op = iota
	allgather
	alltoall
	allgatherShared
	alltoallShared
	nodeBarrier
	nodeAllgather
	patient
	stop
)

// request is one call for the MPI thread.
type request struct {
	op       op
	dst, src []byte
	count    int // bytes of a block, as MPI counts them
}

var errStopped = errors.New("mpi: the world is stopped")

// Rank is this process's number among all, from 0. However the launcher dealt them out, those of a node follow one another.
func (w *World) Rank() int { return w.rank }

// Size is the number of ranks.
func (w *World) Size() int { return w.size }

// NodeRank is this process's number among the ranks that share memory with it, from 0.
func (w *World) NodeRank() int { return w.nodeRank }

// NodeSize is the number of ranks that share memory with this one.
func (w *World) NodeSize() int { return w.nodeSize }

// Unshared is why ranks that MPI puts on one node, and that could share memory, do not, as in containers of their own: each is then
// a node by itself. nil: they do, or there are none.
func (w *World) Unshared() error { return w.unshared }

// MachineSize is the number of ranks that share cores with this one: those of one kernel, which to MPI may be several nodes.
func (w *World) MachineSize() int { return w.machineSize }

// MachineCores is the number of cores that the ranks of this machine may use together, however the launcher bound each of them, and
// no more than their control groups' limit of CPU time.
func (w *World) MachineCores() int { return w.machineCores }

// Fullest is MachineSize and MachineCores of the machine with the most ranks for each core.
func (w *World) Fullest() (ranks, cores int) { return w.fullestSize, w.fullestCores }

// Host is the name by which this process knows its machine.
func (w *World) Host() string { return w.host }

// Barrier returns when every rank has called it.
func (w *World) Barrier() error { return w.call(request{op: barrier}) }

// Allgather puts every rank's src into dst, in rank order.
//
// dst is Size × len(src) bytes long, src equally long on all ranks; they do not overlap.
func (w *World) Allgather(dst, src []byte) error { return w.gather("Allgather", allgather, dst, src) }

// AllgatherShared is Allgather into memory that the node's ranks share, from NodeMemory. Only the first rank of each node crosses
// the network, with the blocks of all.
func (w *World) AllgatherShared(dst, src []byte) error {
	return w.gather("AllgatherShared", allgatherShared, dst, src)
}

func (w *World) gather(name string, op op, dst, src []byte) error {
	switch {
	case len(src) > math.MaxInt32:
		return w.misuse(name, "%d bytes are more than MPI counts (%d)", len(src), math.MaxInt32)
	case len(dst) != w.size*len(src):
		return w.misuse(name, "dst has %d bytes, src %d: %d ranks × %d need %d", len(dst), len(src), w.size, len(src), w.size*len(src))
	case overlap(dst, src):
		return w.misuse(name, "dst and src overlap")
	}
	return w.exchange(request{op: op, dst: dst, src: src, count: len(src)})
}

// Alltoall cuts src into Size equal blocks and sends block i to rank i; dst receives block i from rank i.
//
// dst and src are equally long, a multiple of Size, on all ranks; they do not overlap.
func (w *World) Alltoall(dst, src []byte) error {
	block := len(src) / w.size // bytes
	switch {
	case len(dst) != len(src):
		return w.misuse("Alltoall", "dst has %d bytes, src %d: they must be equal", len(dst), len(src))
	case len(src)%w.size != 0:
		return w.misuse("Alltoall", "%d bytes do not divide into %d equal blocks", len(src), w.size)
	case block > math.MaxInt32:
		return w.misuse("Alltoall", "a block of %d bytes is more than MPI counts (%d)", block, math.MaxInt32)
	case overlap(dst, src):
		return w.misuse("Alltoall", "dst and src overlap")
	}
	return w.exchange(request{op: alltoall, dst: dst, src: src, count: block})
}

// AlltoallShared is Alltoall in memory that the node's ranks share, from NodeMemory: rows (NodeSize, Size, block), of which this rank
// has written its own, and comes (Size, NodeSize, block). Only the first rank of each node crosses the network; into comes it puts
// what ranks of other nodes sent. The blocks of the node's own ranks are not moved: they may be read in the rows. These may be
// written again after the node's next barrier. With one node comes may be empty.
func (w *World) AlltoallShared(comes, rows []byte) error {
	block := len(rows) / w.nodeSize / w.size
	switch {
	case len(rows) != w.nodeSize*w.size*block:
		return w.misuse("AlltoallShared", "%d bytes do not divide into %d rows of %d equal blocks", len(rows), w.nodeSize, w.size)
	case len(comes) != len(rows) && (len(comes) > 0 || w.nodes > 1):
		return w.misuse("AlltoallShared", "comes has %d bytes, rows %d: they must be equal", len(comes), len(rows))
	case block > math.MaxInt32:
		return w.misuse("AlltoallShared", "a block of %d bytes is more than MPI counts (%d)", block, math.MaxInt32)
	case overlap(comes, rows):
		return w.misuse("AlltoallShared", "comes and rows overlap")
	}
	return w.exchange(request{op: alltoallShared, dst: comes, src: rows, count: block})
}

// YieldWhileWaiting makes every wait of this rank leave its core to others from now on, as where ranks outnumber cores: for those who
// compute while a call is under way.
func (w *World) YieldWhileWaiting() error { return w.call(request{op: patient}) }

// exchange has MPI move bytes where there are any, and another rank.
func (w *World) exchange(r request) error {
	switch {
	case r.count == 0:
		return nil
	case w.size == 1:
		return w.alone(func() { copy(r.dst, r.src) })
	}
	return w.call(r)
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
