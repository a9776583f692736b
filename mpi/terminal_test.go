package mpi

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// process is an entry of a /proc made by a test.
type process struct {
	pid, parent int
	name        string
	args        []string
	files       map[int]string // what its file descriptors refer to
}

func procOf(t *testing.T, all ...process) string {
	t.Helper()
	root := t.TempDir()
	for _, p := range all {
		at := filepath.Join(root, fmt.Sprint(p.pid))
		if err := os.MkdirAll(filepath.Join(at, "fd"), 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{
			"stat":    fmt.Sprintf("%d (%s) S %d 1 1 0 -1\n", p.pid, p.name, p.parent),
			"cmdline": strings.Join(append([]string{p.name}, p.args...), "\x00") + "\x00",
		} {
			if err := os.WriteFile(filepath.Join(at, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for fd, to := range p.files {
			if err := os.Symlink(to, filepath.Join(at, "fd", fmt.Sprint(fd))); err != nil {
				t.Fatal(err)
			}
		}
	}
	return root
}

// The launcher's terminal is found through daemons and wrapper scripts, and only where the launcher shows there what this process writes.
// Fails if another ancestor's terminal is taken for the launcher's.
func TestTerminalOfTheLauncherIsFound(t *testing.T) {
	const own, tty = "pipe:[10]", "/dev/pts/3"
	lte := func(parent int, name string) process {
		return process{pid: 100, parent: parent, name: name, files: map[int]string{2: own}}
	}
	proxy := func(parent int) process {
		return process{pid: 90, parent: parent, name: "hydra_pmi_proxy", files: map[int]string{2: "pipe:[9]", 7: own}}
	}
	mpiexec := func(name string, stderr string, args ...string) process {
		return process{pid: 80, parent: 70, name: name, args: args, files: map[int]string{2: stderr, 5: own}}
	}
	shell := process{pid: 70, parent: 1, name: "bash", files: map[int]string{0: tty, 1: tty, 2: tty}}
	for name, c := range map[string]struct {
		processes []process
		want      string
	}{
		"MPICH":                {[]process{lte(90, "lte"), proxy(80), mpiexec("mpiexec.hydra", tty, "-np", "8", "./lte"), shell}, "80/fd/2"},
		"Open MPI":             {[]process{lte(80, "lte"), mpiexec("mpirun.openmpi", tty, "--oversubscribe", "-np", "8", "./lte"), shell}, "80/fd/2"},
		"Open MPI 5":           {[]process{lte(80, "lte"), mpiexec("prterun", "/dev/tty1", "-np", "8", "./lte"), shell}, "80/fd/2"},
		"a container's":        {[]process{lte(80, "lte"), mpiexec("mpirun", "/dev/console")}, "80/fd/2"},
		"a name with brackets": {[]process{lte(90, "l) t (e"), proxy(80), mpiexec("mpirun", tty), shell}, "80/fd/2"},
		"a wrapper script": {[]process{lte(95, "lte"), {pid: 95, parent: 90, name: "sh", files: map[int]string{2: own}},
			proxy(80), mpiexec("mpirun", tty), shell}, "80/fd/2"},
		"a wrapper that redirects the ranks' output": {[]process{lte(95, "lte"), {pid: 95, parent: 90, name: "sh", files: map[int]string{2: "pipe:[11]", 4: own}},
			{pid: 90, parent: 80, name: "hydra_pmi_proxy", files: map[int]string{7: "pipe:[11]"}},
			{pid: 80, parent: 70, name: "mpirun", files: map[int]string{2: tty}}, shell}, ""},
		"redirected to a file":  {[]process{lte(90, "lte"), proxy(80), mpiexec("mpirun", "/home/me/log"), shell}, ""},
		"redirected to a pipe":  {[]process{lte(90, "lte"), proxy(80), mpiexec("mpirun", "pipe:[12]"), shell}, ""},
		"redirected to nothing": {[]process{lte(90, "lte"), proxy(80), mpiexec("mpirun", "/dev/null"), shell}, ""},
		"redirected by a rank": {[]process{{pid: 100, parent: 90, name: "lte", files: map[int]string{2: "/home/me/log"}}, proxy(80),
			mpiexec("mpirun", tty), shell}, ""},
		"marks":             {[]process{lte(90, "lte"), proxy(80), mpiexec("mpirun", tty, "-np", "2", "-prepend-rank", "./lte"), shell}, ""},
		"marks, Open MPI":   {[]process{lte(80, "lte"), mpiexec("orterun", tty, "--tag-output", "./lte"), shell}, ""},
		"files":             {[]process{lte(80, "lte"), mpiexec("orterun", tty, "--output-filename=x", "./lte"), shell}, ""},
		"srun":              {[]process{lte(60, "lte"), {pid: 60, parent: 1, name: "slurmstepd", files: map[int]string{4: own}}}, ""},
		"a daemon of sshd":  {[]process{lte(90, "lte"), proxy(60), {pid: 60, parent: 1, name: "sshd", files: map[int]string{2: tty}}}, ""},
		"a daemon of srun":  {[]process{lte(90, "lte"), {pid: 90, parent: 60, name: "orted", files: map[int]string{7: own}}, {pid: 60, parent: 1, name: "slurmstepd"}}, ""},
		"no launcher":       {[]process{lte(70, "lte"), {pid: 70, parent: 1, name: "python3", files: map[int]string{2: tty, 4: own}}}, ""},
		"no parent":         {[]process{lte(0, "lte")}, ""},
		"no process at all": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			proc := procOf(t, c.processes...)
			got := launcherError(proc, 100)
			if want := c.want; want != "" && got != filepath.Join(proc, want) || want == "" && got != "" {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

func TestUnknownTerminalHas80Columns(t *testing.T) {
	if w := (&Terminal{path: filepath.Join(t.TempDir(), "none")}).Width(); w != 80 {
		t.Errorf("%d columns", w)
	}
}
