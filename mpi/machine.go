package mpi

import (
	"cmp"
	"hash/fnv"
	"io/fs"
	"math/bits"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"lte/internal/cgroup"
	"lte/internal/machine"

	"golang.org/x/sys/unix"
)

// A machine is one running kernel; its ranks compete for its cores. MPI may see several nodes on one machine (SLURM's virtual nodes,
// containers, network namespaces): their ranks share cores but no memory.

// location describes where a rank runs.
type location struct {
	machine uint64   // digest of the kernel's boot id; of the host's name where there is none
	limit   limit    // of CPU time
	cores   []uint64 // bit mask of the cores that it may run on; empty where the system does not report them
}

// limit is the CPU time that a control group may use.
type limit struct {
	group      uint64 // identifies the group
	millicores uint64 // 0: unlimited
}

// load is the number of ranks on a machine and of cores that they may use.
type load struct{ ranks, cores int }

func (l load) oversubscribed() bool { return l.ranks > l.cores }

// localLocation is this rank's location, on the calling thread.
func localLocation(host string) location {
	root := os.DirFS("/")
	sum := fnv.New64a()
	sum.Write([]byte(cmp.Or(machine.ID(root), host)))
	return location{sum.Sum64(), cpuLimit(root), affinity(0)}
}

// locationWords is the length of an encoded location without its cores.
const locationWords = 4

// encode returns the location without its cores, and their number of words. Decoded by decodeLocation.
func (l location) encode() []uint64 { // (locationWords)
	return []uint64{l.machine, l.limit.group, l.limit.millicores, uint64(len(l.cores))}
}

func decodeLocation(w []uint64) (l location, coreWords int) { // (locationWords)
	return location{machine: w[0], limit: limit{w[1], w[2]}}, int(w[3])
}

// affinity returns a bit mask of the cores that a thread (0: the calling one) may run on; nil where the system does not report them.
func affinity(thread int) []uint64 {
	mask := make([]uint64, 1024) // 65,536 CPUs
	if _, _, errno := unix.RawSyscall(unix.SYS_SCHED_GETAFFINITY, uintptr(thread), uintptr(8*len(mask)), uintptr(unsafe.Pointer(&mask[0]))); errno != 0 {
		return nil
	}
	for len(mask) > 0 && mask[len(mask)-1] == 0 {
		mask = mask[:len(mask)-1]
	}
	return mask
}

func countBits(mask []uint64) (n int) {
	for _, word := range mask {
		n += bits.OnesCount64(word)
	}
	return n
}

// machineLoad is the load of a rank's machine. Its cores are those that any of its ranks may run on; where all ranks are in control
// groups with a limit, no more than the sum of these limits, rounded down.
func machineLoad(all []location, rank int) (l load) {
	var union []uint64
	limits := map[limit]bool{}
	for _, p := range all {
		if p.machine != all[rank].machine {
			continue
		}
		l.ranks++
		limits[p.limit] = true
		union = append(union, make([]uint64, max(0, len(p.cores)-len(union)))...)
		for i, word := range p.cores {
			union[i] |= word
		}
	}
	l.cores = cmp.Or(countBits(union), l.ranks)
	allowed := uint64(0)
	for limit := range limits {
		if limit.millicores == 0 {
			return l
		}
		allowed += limit.millicores
	}
	l.cores = max(1, min(l.cores, int(allowed/1000)))
	return l
}

// mostLoaded is the load of the machine with the most ranks per core.
func mostLoaded(all []location) load {
	most := load{0, 1}
	seen := map[uint64]bool{}
	for rank, p := range all {
		if seen[p.machine] {
			continue
		}
		seen[p.machine] = true
		if l := machineLoad(all, rank); l.ranks*most.cores > most.ranks*l.cores {
			most = l
		}
	}
	return most
}

// timeSlice is how long a thread of an oversubscribed machine may compute before it is preempted.
const timeSlice = 100 * time.Millisecond

// useBatchScheduling gives this process's threads, but for the calling one, long time slices, and keeps them from preempting others when
// they wake (SCHED_BATCH). Where ranks outnumber cores and all wait for the last one, frequent switches between ranks only cost cache
// misses. The calling thread keeps its policy, so that messages do not wait. The scheduler still prefers other programs, which ask for
// shorter slices. Kernels before 6.12 ignore the slice; a refusal by the system costs time only. Threads created later inherit the policy.
func useBatchScheduling() {
	threads, _ := os.ReadDir("/proc/self/task")
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil || id == unix.Gettid() {
			continue
		}
		if a, err := unix.SchedGetAttr(id, 0); err == nil && a.Policy == unix.SCHED_NORMAL {
			a.Policy, a.Runtime = unix.SCHED_BATCH, uint64(timeSlice)
			_ = unix.SchedSetAttr(id, a, 0)
		}
	}
}

// cpuLimit returns the limit that this process's control groups (version 1 or 2) set: the tightest from its own group up to the
// outermost visible one, and of equal ones the outermost. Groups that cannot be read are ignored.
//
//	cpu.max             150000 100000   µs of CPU time in each period of so many µs, or max: 1.5 cores
//	cpu.cfs_quota_us    150000          the same in version 1; -1 for no limit
//	cpu.cfs_period_us   100000
func cpuLimit(root fs.FS) (tightest limit) {
	for _, g := range cgroup.Of(root, "cpu") {
		if l := groupLimit(root, g); l.millicores > 0 && (tightest.millicores == 0 || l.millicores <= tightest.millicores) {
			tightest = l
		}
	}
	return tightest
}

// groupLimit reads the limit of a group.
func groupLimit(root fs.FS, g cgroup.Group) limit {
	words := func(file string) []string {
		text, _ := fs.ReadFile(root, path.Join(g.Dir, file))
		return strings.Fields(string(text))
	}
	values := words("cpu.max")
	if len(values) == 0 {
		values = append(words("cpu.cfs_quota_us"), words("cpu.cfs_period_us")...)
	}
	if len(values) != 2 {
		return limit{}
	}
	quota, err := strconv.ParseUint(values[0], 10, 63) // fails for max and for -1
	period, err2 := strconv.ParseUint(values[1], 10, 63)
	if err != nil || err2 != nil || quota == 0 || period == 0 {
		return limit{}
	}
	return limit{g.Inode(root), max(1, quota*1000/period)}
}
