package cgroup

import (
	"slices"
	"testing"
	"testing/fstest"
)

// Fails if a group around this process's is left out, if one of another controller is in, or if the end of a hierarchy is not found.
func TestOf(t *testing.T) {
	const both = "31 30 0:28 / /c/memory rw - cgroup cgroup rw,memory\n32 30 0:29 / /c/cpu rw - cgroup cgroup rw,cpu,cpuacct\n" +
		"40 30 0:37 / /c/unified rw - cgroup2 cgroup2 rw\n"
	for name, c := range map[string]struct {
		mounts, groups string
		want           []string
	}{
		"none":              {"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n", "", nil},
		"both versions":     {both, "4:memory:/a/b\n3:cpu,cpuacct:/x\n0::/u\n", []string{"c/memory/a/b", "c/memory/a", "c/memory", "c/unified/u", "c/unified"}},
		"mounted at /":      {"30 23 0:26 / / rw - cgroup2 cgroup2 rw\n", "0::/job/step\n", []string{"job/step", "job", "."}},
		"a container":       {"30 23 0:26 /docker/ab /c rw - cgroup2 cgroup2 rw\n", "0::/docker/ab/in\n", []string{"c/in", "c"}},
		"a group not seen":  {"30 23 0:26 /docker/ab /c rw - cgroup2 cgroup2 rw\n", "0::/elsewhere\n", []string{"c"}},
		"a group outside":   {"30 23 0:26 / /c rw - cgroup2 cgroup2 rw\n", "0::/../elsewhere\n", []string{"c"}},
		"nothing of groups": {both, "", []string{"c/memory", "c/unified"}},
	} {
		root := fstest.MapFS{"proc/self/mountinfo": {Data: []byte(c.mounts)}, "proc/self/cgroup": {Data: []byte(c.groups)}}
		var got []string
		for _, g := range Of(root, "memory") {
			got = append(got, g.Dir)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
