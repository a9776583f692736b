// Package memory reports how much memory this process may still allocate, by each limit that bounds it. It reads Linux's files below
// /proc and the folders of control groups; where there are none, only the size of an address remains. How many processes share a
// limit is for the caller to know.
package memory

import (
	"encoding/binary"
	"hash/fnv"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"lte/internal/cgroup"
	"lte/internal/machine"
)

// Bound is a limit of memory and what is available below it.
type Bound struct {
	What  string
	Free  float64 // bytes
	Group uint64  // identifies the processes that share the limit, the same number in each of them; 0: it is this process's alone
}

// Bounds returns the limits of this process's memory, of a system whose files are below root: the control groups that it is in, the
// machine's available memory with free swap space, RLIMIT_AS, and the size of an address.
//
// Available to a control group is its limit less what its processes use, not counting page cache that the kernel can reclaim, plus free
// swap space that the group may use.
func Bounds(root fs.FS) (all []Bound) {
	kernel := machine.ID(root)
	swap := fields(root, "proc/meminfo")["SwapFree:"] << 10
	for _, g := range cgroup.Of(root, "memory") {
		if free, ok := groupFree(root, g, swap); ok {
			id := g.Dir
			if inode := g.Inode(root); inode > 0 {
				id = strconv.FormatUint(inode, 10)
			}
			all = append(all, Bound{"cgroup limit", float64(free), number(kernel, id)})
		}
	}
	// Systems that only imitate Linux's files report 0.
	if free := Available(root); free > 0 {
		all = append(all, Bound{"memory of this machine", float64(free + swap), number(kernel)})
	}
	if limit, ok := addressLimit(root); ok {
		used := fields(root, "proc/self/status")["VmSize:"] << 10
		all = append(all, Bound{"limit of the address space: ulimit -v", float64(left(limit, used)), 0})
	}
	return append(all, Bound{"address space", 1 << 47, 0})
}

// Available returns the machine's available memory without swap space, in bytes; 0 where the system does not report it.
func Available(root fs.FS) uint64 { return fields(root, "proc/meminfo")["MemAvailable:"] << 10 }

// groupFree is what is available to a group, in bytes; ok is false for a group without a limit.
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
	limitName, usedName, cache := "max", "current", stat["inactive_file"]+stat["active_file"]+stat["slab_reclaimable"]
	if !g.Second {
		limitName, usedName, cache = "limit_in_bytes", "usage_in_bytes", stat["total_inactive_file"]+stat["total_active_file"]
	}
	limit, ok := read(limitName)
	used, known := read(usedName)
	if !ok || !known {
		return 0, false
	}
	if most, ok := read("swap.max"); ok {
		used, _ := read("swap.current")
		swap = min(swap, left(most, used))
	}
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

// number is a digest of texts, not 0.
func number(texts ...string) uint64 {
	sum := fnv.New64a()
	for _, s := range texts {
		sum.Write(binary.AppendUvarint(nil, uint64(len(s))))
		sum.Write([]byte(s))
	}
	return max(1, sum.Sum64())
}

// Need is what a process is about to allocate.
type Need struct {
	Own    float64 // bytes for itself
	Common float64 // bytes that it shares with the other processes of its node
	Node   int     // number of these processes, this one too; at least 1
}

// Worst returns the bound with the largest ratio of need to free memory, and both of them, in bytes for one process. sharers returns
// the number of processes with that Group.
func (n Need) Worst(bounds []Bound, sharers func(group uint64) int) (worst Bound, need, free float64) {
	for i, b := range bounds {
		needs, has := n.Own+n.Common/float64(n.Node), b.Free
		if b.Group == 0 { // each process maps all of the shared memory
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
