package mpi

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"io/fs"
	"math/bits"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lte/internal/cgroup"
	"lte/internal/machine"

	"golang.org/x/sys/unix"
)

// A machine is what one kernel runs on, and what its ranks share out among them is its cores. To MPI it may be several nodes:
// SLURM's virtual ones, containers or network namespaces, whose ranks have no memory in common and wait for one another's cores
// nevertheless.

// place is what a rank says of where it runs.
type place struct {
	machine uint64   // digest of the kernel's boot id; of the host's name where there is none
	limit   limit    // of its CPU time
	cores   []uint64 // a bit for each that it may run on; none where the system does not tell
}

// limit is what a control group may use of the CPUs.
type limit struct {
	group      uint64 // which one
	millicores uint64 // 0: all
}

// here is this rank's place, but for its cores.
func here(host string) place {
	root := os.DirFS("/")
	sum := fnv.New64a()
	sum.Write([]byte(cmp.Or(machine.ID(root), host)))
	return place{machine: sum.Sum64(), limit: cpuLimit(root)}
}

// placeBytes is the length of a place on the way, but for its cores; behind it are the words of those.
const placeBytes = 4 * 8

func (p place) put(dst []byte) { // (placeBytes)
	for i, v := range []uint64{p.machine, p.limit.group, p.limit.millicores, uint64(len(p.cores))} {
		binary.NativeEndian.PutUint64(dst[8*i:], v)
	}
}

func placeOf(src []byte) (p place, words int) { // (placeBytes)
	at := func(i int) uint64 { return binary.NativeEndian.Uint64(src[8*i:]) }
	return place{machine: at(0), limit: limit{at(1), at(2)}}, int(at(3))
}

// share counts, on a rank's machine, the ranks and the cores that they may use together, however a launcher bound each of them.
// Where all of them are in control groups with a limit the cores are no more than those groups may use, rounded down.
func share(places []place, rank int) (ranks, cores int) {
	var union []uint64
	limits := map[limit]bool{}
	for _, p := range places {
		if p.machine != places[rank].machine {
			continue
		}
		ranks++
		limits[p.limit] = true
		union = append(union, make([]uint64, max(0, len(p.cores)-len(union)))...)
		for i, word := range p.cores {
			union[i] |= word
		}
	}
	for _, word := range union {
		cores += bits.OnesCount64(word)
	}
	if cores == 0 {
		cores = ranks
	}
	allowed := uint64(0)
	for l := range limits {
		if l.millicores == 0 {
			return ranks, cores
		}
		allowed += l.millicores
	}
	return ranks, max(1, min(cores, int(allowed/1000)))
}

// fullest is the ranks and cores of the machine with the most ranks for each core.
func fullest(places []place) (ranks, cores int) {
	ranks, cores = 0, 1
	seen := map[uint64]bool{}
	for rank, p := range places {
		if seen[p.machine] {
			continue
		}
		seen[p.machine] = true
		if r, c := share(places, rank); r*cores > ranks*c {
			ranks, cores = r, c
		}
	}
	return ranks, cores
}

// turn is how long a thread of a crowded machine may compute before another one's turn comes.
const turn = 100 * time.Millisecond

// takeTurns has this process's threads, but for the calling one, compute in long turns, and take no core from one that computes when
// they wake (SCHED_BATCH). Where ranks outnumber cores and all wait for the last of them, it is of no use to let each go on a little;
// every change of rank costs what the caches held. The calling thread's messages are not to wait. Programs of others keep their
// rights: the scheduler prefers who asks for less at a time. Kernels before 6.12 have turns of their own; where the system refuses,
// time is all that is lost. Threads that come later are made by these.
func takeTurns() {
	threads, _ := os.ReadDir("/proc/self/task")
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil || id == unix.Gettid() {
			continue
		}
		if a, err := unix.SchedGetAttr(id, 0); err == nil && a.Policy == unix.SCHED_NORMAL {
			a.Policy, a.Runtime = unix.SCHED_BATCH, uint64(turn)
			_ = unix.SchedSetAttr(id, a, 0)
		}
	}
}

// cpuLimit finds the limit that this process's control groups set, of the first version or the second: the tightest from its own
// group up to the outermost that it can see, and of equal ones the outermost. What cannot be read limits nothing.
//
//	cpu.max             150000 100000   µs of CPU time in each period of so many µs, or max: 1.5 cores
//	cpu.cfs_quota_us    150000          the same in the first version; -1 for no limit
//	cpu.cfs_period_us   100000
func cpuLimit(root fs.FS) (tightest limit) {
	for _, g := range cgroup.Of(root, "cpu") {
		if l := groupLimit(root, g.Dir); l.millicores > 0 && (tightest.millicores == 0 || l.millicores <= tightest.millicores) {
			tightest = l
		}
	}
	return tightest
}

// groupLimit reads the limit of the group in dir. The group is known by its folder's number, the same in every container.
func groupLimit(root fs.FS, dir string) (l limit) {
	words := func(file string) []string {
		text, _ := fs.ReadFile(root, path.Join(dir, file))
		return strings.Fields(string(text))
	}
	figures := words("cpu.max")
	if len(figures) == 0 {
		figures = append(words("cpu.cfs_quota_us"), words("cpu.cfs_period_us")...)
	}
	if len(figures) != 2 {
		return l
	}
	quota, err := strconv.ParseUint(figures[0], 10, 63) // fails for max and for -1
	period, err2 := strconv.ParseUint(figures[1], 10, 63)
	if err != nil || err2 != nil || quota == 0 || period == 0 {
		return l
	}
	l.millicores = max(1, quota*1000/period)
	if info, err := fs.Stat(root, dir); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			l.group = stat.Ino
		}
	}
	return l
}
