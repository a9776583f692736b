package memory

import (
	"io/fs"
	"math"
	"syscall"
	"testing"
	"testing/fstest"
)

// system is a root with files of that content, and folders with numbers.
func system(files map[string]string) fstest.MapFS {
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	for i, name := range []string{"sys/fs/cgroup", "sys/fs/cgroup/job", "sys/fs/cgroup/job/step", "sys/fs/cgroup/memory/job"} {
		root[name] = &fstest.MapFile{Mode: fs.ModeDir, Sys: &syscall.Stat_t{Ino: uint64(1 + i)}}
	}
	return root
}

const (
	second = "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n"
	first  = "33 24 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	limits = "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max cpu time              unlimited            unlimited            seconds   \n"
)

// Fails if a limit is read from another group than this process's or those around it, if what is used is not taken off, if page cache
// or free swap space counts as used, or if what cannot be read bounds anything.
func TestBounds(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  map[string]float64 // what: bytes
	}{
		"nothing can be read": {nil, nil},
		"damaged": {map[string]string{"proc/self/mountinfo": "x\n- \n" + second, "proc/self/cgroup": "0:\n\n0::/job\n", "proc/meminfo": "MemAvailable:\nSwapFree: -1 kB\n",
			"proc/self/limits": "Max address space\n", "proc/self/status": "VmSize:", "sys/fs/cgroup/job/memory.max": "much\n"}, nil},
		"machine": {map[string]string{"proc/meminfo": "MemTotal: 4000 kB\nMemAvailable:    2000 kB\nSwapFree:  500 kB\n"},
			map[string]float64{"memory of this machine": 2500 << 10}},
		"nothing is available, says a kernel that does not count": {map[string]string{"proc/meminfo": "MemAvailable: 0 kB\n"}, nil},
		"address space": {map[string]string{"proc/self/limits": limits + "Max address space         5000000 unlimited bytes\n", "proc/self/status": "Name:\tlte\nVmSize:\t    1000 kB\n"},
			map[string]float64{"limit of the address space: ulimit -v": 5000000 - 1000<<10}},
		"more address space in use than there may be": {map[string]string{"proc/self/limits": "Max address space  5000 6000 bytes\n", "proc/self/status": "VmSize: 1000 kB\n"},
			map[string]float64{"limit of the address space: ulimit -v": 0}},
		"no limit of the address space": {map[string]string{"proc/self/limits": limits + "Max address space         unlimited unlimited bytes\n"}, nil},
		"second version": {map[string]string{"proc/self/mountinfo": second, "proc/self/cgroup": "0::/job/step\n",
			"sys/fs/cgroup/job/step/memory.max": "max\n", "sys/fs/cgroup/job/step/memory.current": "700\n",
			"sys/fs/cgroup/job/memory.max": "9000\n", "sys/fs/cgroup/job/memory.current": "5000\n",
			"sys/fs/cgroup/job/memory.stat": "anon 1000\nfile 4000\ninactive_file 1500\nactive_file 500\nslab_reclaimable 100\n", "sys/fs/cgroup/other/memory.max": "1\n"},
			map[string]float64{"cgroup limit": 9000 - 5000 + 2100}},
		"swap space, limited": {map[string]string{"proc/self/mountinfo": second, "proc/self/cgroup": "0::/job\n", "proc/meminfo": "SwapFree: 1000 kB\n",
			"sys/fs/cgroup/job/memory.max": "9000\n", "sys/fs/cgroup/job/memory.current": "9500\n", "sys/fs/cgroup/job/memory.swap.max": "5000\n", "sys/fs/cgroup/job/memory.swap.current": "3000\n"},
			map[string]float64{"cgroup limit": 2000}},
		"swap space, none": {map[string]string{"proc/self/mountinfo": second, "proc/self/cgroup": "0::/job\n", "proc/meminfo": "SwapFree: 1000 kB\n",
			"sys/fs/cgroup/job/memory.max": "9000\n", "sys/fs/cgroup/job/memory.current": "0\n", "sys/fs/cgroup/job/memory.swap.max": "0\n"},
			map[string]float64{"cgroup limit": 9000}},
		"swap space, not limited": {map[string]string{"proc/self/mountinfo": second, "proc/self/cgroup": "0::/job\n", "proc/meminfo": "SwapFree: 1 kB\n",
			"sys/fs/cgroup/job/memory.max": "9000\n", "sys/fs/cgroup/job/memory.current": "0\n", "sys/fs/cgroup/job/memory.swap.max": "max\n"},
			map[string]float64{"cgroup limit": 9000 + 1024}},
		"first version": {map[string]string{"proc/self/mountinfo": first, "proc/self/cgroup": "4:memory:/job\n0::/\n",
			"sys/fs/cgroup/memory/job/memory.limit_in_bytes": "9000\n", "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "5000\n",
			"sys/fs/cgroup/memory/job/memory.stat": "cache 2000\ntotal_inactive_file 1500\ntotal_active_file 100\n"},
			map[string]float64{"cgroup limit": 5600}},
		"first version, with swap space": {map[string]string{"proc/self/mountinfo": first, "proc/self/cgroup": "4:memory:/job\n", "proc/meminfo": "SwapFree: 1000 kB\n",
			"sys/fs/cgroup/memory/job/memory.limit_in_bytes": "9000\n", "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "5000\n",
			"sys/fs/cgroup/memory/job/memory.memsw.limit_in_bytes": "12000\n", "sys/fs/cgroup/memory/job/memory.memsw.usage_in_bytes": "5500\n"},
			map[string]float64{"cgroup limit": 6500}},
		"first version, no limit": {map[string]string{"proc/self/mountinfo": first, "proc/self/cgroup": "4:memory:/job\n",
			"sys/fs/cgroup/memory/job/memory.limit_in_bytes": "9223372036854771712\n", "sys/fs/cgroup/memory/job/memory.usage_in_bytes": "5000\n"}, nil},
	} {
		got := map[string]float64{}
		for _, b := range Bounds(system(c.files)) {
			got[b.What] = b.Free
		}
		if got["address space"] != 1<<47 {
			t.Errorf("%s: no bound of the addresses: %v", name, got)
		}
		delete(got, "address space")
		for what, bytes := range c.want {
			if found, ok := got[what]; !ok || found != bytes {
				t.Errorf("%s: %s leaves %v bytes, want %v", name, what, found, bytes)
			}
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// Who shares a bound is the same in all processes of a group, whatever a container calls it, and another one on another machine.
func TestGroupsAreTheSameEverywhere(t *testing.T) {
	group := func(boot, mount, own string) (groups map[string]uint64) {
		root := system(map[string]string{"proc/self/mountinfo": mount, "proc/self/cgroup": own, "proc/sys/kernel/random/boot_id": boot, "proc/meminfo": "MemAvailable: 1 kB\n",
			"sys/fs/cgroup/job/memory.max": "9000\n", "sys/fs/cgroup/job/memory.current": "0\n", "box/memory.max": "9000\n", "box/memory.current": "0\n"})
		root["box"] = &fstest.MapFile{Mode: fs.ModeDir, Sys: root["sys/fs/cgroup/job"].Sys}
		groups = map[string]uint64{}
		for _, b := range Bounds(root) {
			groups[b.What] = b.Group
		}
		return groups
	}
	host := group("a", second, "0::/job\n")
	box := group("a", "30 23 0:26 /job /box ro - cgroup2 cgroup2 rw\n", "0::/job\n")
	other := group("b", second, "0::/job\n")
	for _, what := range []string{"cgroup limit", "memory of this machine"} {
		if host[what] == 0 || host[what] != box[what] || host[what] == other[what] {
			t.Errorf("%s: %d on the host, %d in a container, %d on another machine", what, host[what], box[what], other[what])
		}
	}
	if host["cgroup limit"] == host["memory of this machine"] || host["address space"] != 0 {
		t.Errorf("%v", host)
	}
}

// Fails if a bound is not shared out, if memory that is shared counts for each process, or if another bound than the tightest is told.
func TestWorst(t *testing.T) {
	group, machine, own := Bound{"group", 1000, 7}, Bound{"machine", 3000, 8}, Bound{"own", 500, 0}
	for name, c := range map[string]struct {
		need       Need
		bounds     []Bound
		sharers    map[uint64]int
		worst      string
		need1, has float64
	}{
		"alone":                              {Need{100, 0, 1}, []Bound{group, machine}, map[uint64]int{7: 1, 8: 1}, "group", 100, 1000},
		"shared by ranks":                    {Need{100, 0, 1}, []Bound{group, machine}, map[uint64]int{7: 4, 8: 4}, "group", 100, 250},
		"a group each, on one machine":       {Need{100, 0, 1}, []Bound{group, machine}, map[uint64]int{7: 1, 8: 12}, "machine", 100, 250},
		"common memory is there once":        {Need{100, 400, 4}, []Bound{group}, map[uint64]int{7: 4}, "group", 200, 250},
		"and in the address space of each":   {Need{100, 400, 4}, []Bound{group, own}, map[uint64]int{7: 1}, "own", 500, 500},
		"nobody said that he shares it":      {Need{100, 0, 1}, []Bound{group}, nil, "group", 100, 1000},
		"nothing is left":                    {Need{100, 0, 1}, []Bound{own, {"full", 0, 7}}, map[uint64]int{7: 2}, "full", 100, 0},
		"more than any machine has":          {Need{1e31, 0, 1}, []Bound{{"address space", 1 << 47, 0}}, nil, "address space", 1e31, 1 << 47},
		"nothing is needed, nothing is left": {Need{0, 0, 1}, []Bound{{"full", 0, 7}}, map[uint64]int{7: 2}, "full", 0, 0},
	} {
		worst, need, has := c.need.Worst(c.bounds, func(g uint64) int { return c.sharers[g] })
		if worst.What != c.worst || math.Abs(need-c.need1) > 1e-9*need || has != c.has {
			t.Errorf("%s: %v needs %v of %v, want %s, %v of %v", name, worst, need, has, c.worst, c.need1, c.has)
		}
	}
}
