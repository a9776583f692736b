// Package memory says how much memory this process may still take, by what bounds it. It reads the files of Linux; where these are
// not there, nothing is bounded but the address space. That of processes which share a bound each has a part is for the caller to know.
package memory

import (
	"encoding/binary"
	"hash/fnv"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"syscall"

	"lte/internal/cgroup"
)

// Bound is a limit of memory, and what is left of it.
type Bound struct {
	What  string
	Free  float64 // bytes
	Group uint64  // of processes that share it: the same number in each of them, and in no other; 0: of this process alone
}

// Bounds returns what bounds this process's memory, with "/" as root: the control groups that it is in, the machine's memory with
// free swap space, the limit of its address space (RLIMIT_AS), and what an address can be at all.
//
// Of a control group is free what its limit leaves beside what its processes hold now, page cache that can be given up not
// counted, and free swap space that it may use.
func Bounds(root fs.FS) (all []Bound) {
	machine := machine(root)
	swap := fields(root, "proc/meminfo")["SwapFree:"] << 10
	for _, g := range cgroup.Of(root, "memory") {
		free, ok := groupFree(root, g, swap)
		if ok {
			all = append(all, Bound{"cgroup limit", float64(free), number(machine, folder(root, g.Dir))})
		}
	}
	// Some kernels that are none of Linux's say that nothing is available.
	if free := fields(root, "proc/meminfo")["MemAvailable:"] << 10; free > 0 {
		all = append(all, Bound{"memory of this machine", float64(free + swap), number(machine)})
	}
	if limit, ok := addressLimit(root); ok {
		used := fields(root, "proc/self/status")["VmSize:"] << 10
		all = append(all, Bound{"limit of the address space: ulimit -v", float64(left(limit, used)), 0})
	}
	return append(all, Bound{"address space", 1 << 47, 0})
}

// groupFree is what a group's processes may still take; ok is false for a group without a limit.
//
//	memory.max              512000000, or max           first version: memory.limit_in_bytes, a number near 2^63 for none
//	memory.current          300000000                   memory.usage_in_bytes
//	memory.stat             inactive_file 1000 ...      total_inactive_file 1000 ...
//	memory.swap.max         0, or max                   memory.memsw.limit_in_bytes, of memory and swap space together
//	memory.swap.current     0                           memory.memsw.usage_in_bytes
func groupFree(root fs.FS, g cgroup.Group, swap uint64) (free uint64, ok bool) {
	read := func(name string) (uint64, bool) {
		text, _ := fs.ReadFile(root, path.Join(g.Dir, "memory."+name))
		n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64) // fails for max
		return n, err == nil && n < 1<<60
	}
	stat := fields(root, path.Join(g.Dir, "memory.stat"))
	if g.Second {
		limit, ok := read("max")
		used, known := read("current")
		if !ok || !known {
			return 0, false
		}
		if most, ok := read("swap.max"); ok {
			used, _ := read("swap.current")
			swap = min(swap, left(most, used))
		}
		return left(limit, left(used, stat["inactive_file"]+stat["active_file"]+stat["slab_reclaimable"])) + swap, true
	}
	limit, ok := read("limit_in_bytes")
	used, known := read("usage_in_bytes")
	if !ok || !known {
		return 0, false
	}
	cache := stat["total_inactive_file"] + stat["total_active_file"]
	free = left(limit, left(used, cache)) + swap
	if most, ok := read("memsw.limit_in_bytes"); ok {
		used, _ := read("memsw.usage_in_bytes")
		free = min(free, left(most, left(used, cache)))
	}
	return free, true
}

// addressLimit is the soft limit of /proc/self/limits.
func addressLimit(root fs.FS) (uint64, bool) {
	text, _ := fs.ReadFile(root, "proc/self/limits")
	for line := range strings.Lines(string(text)) { // Max address space         unlimited            unlimited            bytes
		if rest, ok := strings.CutPrefix(line, "Max address space"); ok {
			if f := strings.Fields(rest); len(f) > 0 {
				n, err := strconv.ParseUint(f[0], 10, 64)
				return n, err == nil
			}
		}
	}
	return 0, false
}

// fields are the numbers of a file of names and numbers.
func fields(root fs.FS, name string) map[string]uint64 {
	all := map[string]uint64{}
	text, _ := fs.ReadFile(root, name)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 2 {
			if n, err := strconv.ParseUint(f[1], 10, 54); err == nil {
				all[f[0]] = n
			}
		}
	}
	return all
}

// left is what is left of a limit, nothing where more is used.
func left(limit, used uint64) uint64 { return limit - min(limit, used) }

// machine is a text that no other machine has.
func machine(root fs.FS) string {
	for _, name := range []string{"random/boot_id", "hostname"} {
		if text, err := fs.ReadFile(root, "proc/sys/kernel/"+name); err == nil && len(text) > 0 {
			return string(text)
		}
	}
	return ""
}

// folder is a text that no other folder of the machine has, in whatever container: its number.
func folder(root fs.FS, dir string) string {
	if info, err := fs.Stat(root, dir); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			return strconv.FormatUint(stat.Ino, 10)
		}
	}
	return dir
}

// number is a digest of texts, not 0.
func number(texts ...string) uint64 {
	sum := fnv.New64a()
	for _, s := range texts {
		sum.Write(binary.AppendUvarint(nil, uint64(len(s))))
		sum.Write([]byte(s))
	}
	return max(1, sum.Sum64())
}

// Need is what a process is about to take.
type Need struct {
	Own    float64 // bytes of its own
	Common float64 // bytes that the processes of a node share, and take once
	Node   int     // how many these are; at least 1
}

// Worst returns the bound that leaves least of what is needed, with what is needed of it and what is free of it, both for one
// process. sharers is how many processes share the bound of a group.
func (n Need) Worst(bounds []Bound, sharers func(group uint64) int) (worst Bound, need, free float64) {
	for i, b := range bounds {
		needs, has := n.Own+n.Common/float64(n.Node), b.Free
		if b.Group == 0 { // what is shared is in every process's address space
			needs = n.Own + n.Common
		} else {
			has /= float64(max(1, sharers(b.Group)))
		}
		if i == 0 || needs*free > need*has {
			worst, need, free = b, needs, has
		}
	}
	return worst, need, free
}
