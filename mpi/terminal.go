package mpi

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Terminal is the terminal that shows what this process writes to standard error.
type Terminal struct {
	path string // of the terminal's file; "": standard error itself
}

// StandardError finds the terminal that standard error goes to: standard error itself, or that of the launcher on this host, which
// forwards what ranks write to their pipes. nil: there is none, or it cannot be found, as under srun or ssh.
func StandardError() *Terminal {
	if _, err := unix.IoctlGetTermios(2, unix.TCGETS); err == nil {
		return &Terminal{}
	}
	if at := launcherError("/proc", os.Getpid()); at != "" {
		return &Terminal{path: at}
	}
	return nil
}

// Width is the current number of columns; 80 where it is unknown or t is nil.
func (t *Terminal) Width() int {
	if t == nil {
		return defaultWidth
	}
	fd := 2
	if t.path != "" {
		var err error
		if fd, err = unix.Open(t.path, unix.O_RDONLY|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err != nil {
			return defaultWidth
		}
		defer unix.Close(fd)
	}
	if size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		return int(size.Col)
	}
	return defaultWidth
}

const defaultWidth = 80

// launcherError follows the pipe that is a process's standard error to the MPI launcher that started it, and returns the path of the
// launcher's own standard error if that is a terminal, else "".
//
//	lte ← (wrapper scripts) ← hydra_pmi_proxy ← mpiexec.hydra     MPICH
//	lte ← (wrapper scripts) ← orterun or prterun                  Open MPI
func launcherError(proc string, pid int) string {
	pipe := link(proc, pid, 2)
	if !strings.HasPrefix(pipe, "pipe:") {
		return ""
	}
	p := starter(proc, pid)
	if p == 0 || !reads(proc, p, pipe) { // a wrapper redirected standard error
		return ""
	}
	name, _ := stat(proc, p)
	for kindOf(name) == daemon {
		p, name = parent(proc, p)
	}
	if kindOf(name) != launcher || labels(proc, p) {
		return ""
	}
	for _, of := range []string{"/dev/pts/", "/dev/tty", "/dev/console", "/dev/hvc"} {
		if strings.HasPrefix(link(proc, p, 2), of) {
			return path.Join(proc, strconv.Itoa(p), "fd/2")
		}
	}
	return ""
}

// Roles of a process in an MPI job, by its name.
const (
	notMPI   = iota
	daemon   // of a node: it forwards the ranks' output
	launcher // the command that the user called
)

func kindOf(name string) int {
	switch {
	case slices.Contains([]string{"hydra_pmi_proxy", "orted", "prted"}, name):
		return daemon
	case strings.HasPrefix(name, "mpirun"), strings.HasPrefix(name, "mpiexec"), name == "orterun", name == "prterun":
		return launcher
	}
	return notMPI
}

// starter is the MPI process (daemon or launcher) of this host that started this one, possibly through wrapper scripts; 0: none.
func starter(proc string, pid int) int {
	p, name := parent(proc, pid)
	for p > 1 && kindOf(name) == notMPI {
		p, name = parent(proc, p)
	}
	if p <= 1 {
		return 0
	}
	return p
}

// labels reports whether a launcher was called with an option that prefixes the ranks' output or sends it to files or windows.
func labels(proc string, pid int) bool {
	line, _ := os.ReadFile(path.Join(proc, strconv.Itoa(pid), "cmdline"))
	return slices.ContainsFunc(strings.Split(string(line), "\x00"), func(arg string) bool {
		option, ok := strings.CutPrefix(arg, "-")
		option, _, _ = strings.Cut(strings.TrimPrefix(option, "-"), "=")
		return ok && slices.Contains([]string{"l", "prepend-rank", "prepend-pattern", "outfile-pattern", "errfile-pattern", // MPICH
			"tag-output", "timestamp-output", "output-filename", "merge-stderr-to-stdout", "output", "xml", "xterm"}, option)
	})
}

// parent returns a process's parent and its name; 0 where it is not visible.
func parent(proc string, pid int) (int, string) {
	_, p := stat(proc, pid)
	name, _ := stat(proc, p)
	return p, name
}

// stat reads a process's name and parent from /proc/PID/stat, such as 4711 (any name) S 4710 …; "" and 0 where it is not visible.
func stat(proc string, pid int) (name string, parent int) {
	text, _ := os.ReadFile(path.Join(proc, strconv.Itoa(pid), "stat"))
	line := string(text)
	from, to := strings.Index(line, "("), strings.LastIndex(line, ")")
	if from < 0 || to < from {
		return "", 0
	}
	if fields := strings.Fields(line[to+1:]); len(fields) > 1 {
		parent, _ = strconv.Atoi(fields[1])
	}
	return line[from+1 : to], parent
}

// link is the target of a process's file descriptor; "" where it cannot be read.
func link(proc string, pid, fd int) string {
	to, _ := os.Readlink(path.Join(proc, fmt.Sprintf("%d/fd/%d", pid, fd)))
	return to
}

// reads reports whether a process has that pipe open.
func reads(proc string, pid int, pipe string) bool {
	files, _ := os.ReadDir(path.Join(proc, strconv.Itoa(pid), "fd"))
	return slices.ContainsFunc(files, func(f os.DirEntry) bool {
		fd, err := strconv.Atoi(f.Name())
		return err == nil && link(proc, pid, fd) == pipe
	})
}
