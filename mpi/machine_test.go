package mpi

import (
	"io/fs"
	"syscall"
	"testing"
	"testing/fstest"
)

// Fails if a limit is read from a group other than this process's, if an enclosing group's is missed, if the tightest does not apply, if
// "max" or -1 is taken for a limit, or if a group has another identity in a container.
func TestTightestCPULimitOfAllGroupsApplies(t *testing.T) {
	const (
		v2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
		v1 = "24 23 0:21 / /sys/fs/cgroup rw shared:2 - tmpfs tmpfs rw\n" +
			"33 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" +
			"34 24 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
		docker = "33 24 0:29 /docker/ab /sys/fs/cgroup/cpu ro master:1 - cgroup cpu rw,cpu\n"
	)
	for _, c := range []struct {
		name           string
		mounts, groups string
		files          map[string]string // below /sys/fs/cgroup
		want           uint64            // thousandths of a core
		group          string            // whose limit it is
	}{
		{"none", v2, "0::/job\n", map[string]string{"job/cpu.max": "max 100000\n"}, 0, ""},
		{"own", v2, "0::/job\n", map[string]string{"job/cpu.max": "150000 100000\n", "cpu.max": "max 100000\n"}, 1500, "job"},
		{"outer", v2, "0::/job/step\n", map[string]string{"job/step/cpu.max": "max 100000\n", "job/cpu.max": "200000 100000\n"}, 2000, "job"},
		{"tightest", v2, "0::/job/step\n", map[string]string{"job/step/cpu.max": "50000 100000\n", "job/cpu.max": "200000 100000\n"}, 500, "job/step"},
		{"equal", v2, "0::/job/step\n", map[string]string{"job/step/cpu.max": "100000 50000\n", "job/cpu.max": "200000 100000\n"}, 2000, "job"},
		{"another's", v2, "0::/job\n", map[string]string{"other/cpu.max": "50000 100000\n"}, 0, ""},
		{"container", v2, "0::/\n", map[string]string{"cpu.max": "250000 100000\n"}, 2500, ""},
		{"first version", v1, "3:cpuset:/set\n2:cpu,cpuacct:/job\n0::/\n", map[string]string{
			"cpu,cpuacct/job/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
			"cpuset/set/cpu.max": "10000 100000\n"}, 3000, "cpu,cpuacct/job"},
		{"first version, none", v1, "2:cpu,cpuacct:/job\n", map[string]string{
			"cpu,cpuacct/job/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/job/cpu.cfs_period_us": "100000\n"}, 0, ""},
		{"first version, container", docker, "2:cpu,cpuacct:/docker/ab\n", map[string]string{
			"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 500, "cpu"},
		{"a group that is not seen", docker, "2:cpu,cpuacct:/elsewhere\n", map[string]string{
			"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 500, "cpu"},
		{"hardly any", v2, "0::/\n", map[string]string{"cpu.max": "1 1000000\n"}, 1, ""},
		{"damaged", v2, "0::/\n", map[string]string{"cpu.max": "much\n"}, 0, ""},
		{"no control groups", "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n", "", nil, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := fstest.MapFS{
				"proc/self/mountinfo": {Data: []byte(c.mounts)},
				"proc/self/cgroup":    {Data: []byte(c.groups)},
				// Folders whose numbers are asked for.
				"sys/fs/cgroup":                 {Mode: fs.ModeDir, Sys: &syscall.Stat_t{Ino: 1}},
				"sys/fs/cgroup/job":             {Mode: fs.ModeDir, Sys: &syscall.Stat_t{Ino: 2}},
				"sys/fs/cgroup/job/step":        {Mode: fs.ModeDir, Sys: &syscall.Stat_t{Ino: 3}},
				"sys/fs/cgroup/cpu":             {Mode: fs.ModeDir, Sys: &syscall.Stat_t{Ino: 4}},
				"sys/fs/cgroup/cpu,cpuacct/job": {Mode: fs.ModeDir, Sys: &syscall.Stat_t{Ino: 5}},
			}
			for name, text := range c.files {
				root["sys/fs/cgroup/"+name] = &fstest.MapFile{Data: []byte(text)}
			}
			want := limit{millicores: c.want}
			if c.want > 0 {
				dir := "sys/fs/cgroup"
				if c.group != "" {
					dir += "/" + c.group
				}
				want.group = root[dir].Sys.(*syscall.Stat_t).Ino
			}
			if got := cpuLimit(root); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// Fails if ranks of another machine are counted, if cores that several ranks may use count more than once, if the limit of a group counts
// for each of its ranks or is ignored, or if the limit applies although one rank has none.
func TestMachineLoad(t *testing.T) {
	on := func(machine uint64, l limit, cores ...uint64) location { return location{machine, l, cores} }
	none := limit{}
	for _, c := range []struct {
		name           string
		locations      []location
		ranks, cores   int // of rank 0's machine
		oversubscribed bool
	}{
		{"alone", []location{on(1, none, 0b1111)}, 1, 4, false},
		{"bound to a core each", []location{on(1, none, 0b01), on(1, none, 0b10)}, 2, 2, false},
		{"bound to the same core", []location{on(1, none, 0b10), on(1, none, 0b10)}, 2, 1, true},
		{"more cores than a word has", []location{on(1, none, 1), on(1, none, 0, 1)}, 2, 2, false},
		{"two machines", []location{on(1, none, 0b11), on(2, none, 0b11), on(1, none, 0b11)}, 2, 2, false},
		{"the other machine is oversubscribed", []location{on(1, none, 0b11), on(2, none, 1), on(2, none, 1)}, 1, 2, true},
		{"cores not reported", []location{on(1, none), on(1, none)}, 2, 2, false},
		{"a group's limit", []location{on(1, limit{7, 2500}, 0b1111), on(1, limit{7, 2500}, 0b1111), on(1, limit{7, 2500}, 0b1111)}, 3, 2, true},
		{"two groups' limits", []location{on(1, limit{7, 1000}, 0b1111), on(1, limit{8, 1000}, 0b1111)}, 2, 2, false},
		{"half a core", []location{on(1, limit{7, 500}, 0b1111)}, 1, 1, false},
		{"more than the cores", []location{on(1, limit{7, 64000}, 0b11)}, 1, 2, false},
		{"one without", []location{on(1, limit{7, 1000}, 0b11), on(1, none, 0b11)}, 2, 2, false},
	} {
		l, most := machineLoad(c.locations, 0), mostLoaded(c.locations)
		if l != (load{c.ranks, c.cores}) || most.oversubscribed() != c.oversubscribed || most.ranks*l.cores < l.ranks*most.cores {
			t.Errorf("%s: load %v, on the most loaded machine %v; want %d, %d, oversubscribed: %v", c.name, l, most, c.ranks, c.cores, c.oversubscribed)
		}
	}
}

// Fails if a location is decoded to another one.
func TestLocationIsDecodedAsEncoded(t *testing.T) {
	sent := location{machine: 1 << 63, limit: limit{5, 2500}, cores: []uint64{1, 2, 3}}
	if got, words := decodeLocation(sent.encode()); got.machine != sent.machine || got.limit != sent.limit || words != 3 {
		t.Errorf("%+v of %d words, want %+v", got, words, sent)
	}
}
