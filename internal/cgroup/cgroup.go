// Package cgroup finds the control groups of this process, of version 1 and of version 2. Reading their limits is left to its users.
package cgroup

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
)

// Group is the folder of a control group below the root.
type Group struct {
	Dir    string // in the root, without a leading slash
	Second bool   // of version 2
}

// Inode identifies a group in all containers, by its folder's inode; 0 where that is not known.
func (g Group) Inode(root fs.FS) uint64 {
	if info, err := fs.Stat(root, g.Dir); err == nil {
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			return stat.Ino
		}
	}
	return 0
}

// Of returns this process's groups in the hierarchy of a controller, such as "memory", and in that of version 2: in each of them its own
// group first, then the enclosing ones up to the outermost that it can see. What cannot be read is left out.
func Of(root fs.FS, controller string) (all []Group) {
	mounts, _ := fs.ReadFile(root, "proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		// 36 35 98:0 /path/in/the/hierarchy /mounted/at rw,noatime shared:1 - cgroup cgroup rw,cpu,cpuacct
		place, kind, ok := strings.Cut(line, " - ")
		at, what := strings.Fields(place), strings.Fields(kind)
		if !ok || len(at) < 5 || len(what) < 3 {
			continue
		}
		second, named := what[0] == "cgroup2", ""
		switch {
		case what[0] == "cgroup" && slices.Contains(strings.Split(what[2], ","), controller):
			named = controller
		case !second:
			continue
		}
		within, ok := strings.CutPrefix(own(root, named), strings.TrimSuffix(at[3], "/"))
		if !ok || strings.HasPrefix(within, "/..") { // a container that sees less of the hierarchy than its groups' names tell
			within = ""
		}
		top := path.Join(".", strings.TrimPrefix(at[4], "/"))
		for dir := path.Join(top, within); ; dir = path.Dir(dir) {
			all = append(all, Group{dir, second})
			if dir == top || dir == "." {
				break
			}
		}
	}
	return all
}

// own is this process's group in the hierarchy of a controller; "" stands for version 2, which has a single one.
func own(root fs.FS, controller string) string {
	groups, _ := fs.ReadFile(root, "proc/self/cgroup")
	for line := range strings.Lines(string(groups)) { // 4:cpu,cpuacct:/name, 0::/name
		if f := strings.SplitN(strings.TrimSpace(line), ":", 3); len(f) == 3 && slices.Contains(strings.Split(f[1], ","), controller) {
			return f[2]
		}
	}
	return ""
}
