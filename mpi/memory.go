package mpi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Memory of a node is a file without a name (memfd_create), which its first rank makes and the others open where the kernel shows it,
// as /proc/PID/fd/FD. Other than a window of MPI's it takes no blocking collective to make (eight ranks on two cores spin in those),
// does not depend on the size of /dev/shm, is there in full or fails at once, and leaves nothing behind however the ranks end.

// NodeBarrier returns when every rank of this node has called it; what they have written before it is then seen by all.
func (w *World) NodeBarrier() error {
	if w.nodeSize == 1 {
		return w.alone(func() {})
	}
	return w.call(request{op: nodeBarrier})
}

// NodeMemory is that many bytes, 0 at first, which the ranks of this node have in common until the process ends. All ranks of the
// world ask for as many. If one cannot have it all get an error: the others, that it could not.
func (w *World) NodeMemory(bytes int) ([]byte, error) {
	switch {
	case bytes == 0:
		return nil, nil
	case w.nodes == w.size:
		return make([]byte, bytes), nil
	}
	return w.nodeMemory(bytes, w.call)
}

// nodeMemory is NodeMemory by way of do, which has MPI serve a request.
func (w *World) nodeMemory(bytes int, do func(request) error) ([]byte, error) {
	memory, err := w.shareMemory(bytes, do)
	well, all := []byte{1}, make([]byte, w.size)
	if err != nil {
		well[0] = 0
	}
	if broken := do(request{op: allgather, dst: all, src: well, count: 1}); broken != nil {
		return nil, errors.Join(err, broken)
	}
	if rank := slices.Index(all, 0); rank >= 0 && err == nil {
		err = fmt.Errorf("rank %d has none", rank)
	}
	if err != nil {
		return nil, fmt.Errorf("mpi: rank %d/%d: %d bytes of memory for the %d ranks of node %s: %w", w.rank, w.size, bytes, w.nodeSize, w.host, err)
	}
	return memory, nil
}

// shareMemory returns when all ranks of the node have mapped the memory, or failed to.
func (w *World) shareMemory(bytes int, do func(request) error) (memory []byte, err error) {
	const access = unix.PROT_READ | unix.PROT_WRITE
	if w.nodeSize == 1 {
		return unix.Mmap(-1, 0, bytes, access, unix.MAP_ANON|unix.MAP_PRIVATE)
	}
	var file *os.File
	if w.nodeRank == 0 {
		file, err = anonymous(bytes)
	}
	fd := -1
	if file != nil {
		defer file.Close()
		fd = int(file.Fd())
	}
	first, broken := w.first(os.Getpid(), fd, do)
	if broken != nil {
		return nil, errors.Join(err, broken)
	}
	if w.nodeRank > 0 {
		if first.fd < 0 {
			err = errors.New("the node's first rank has none")
		} else if file, err = os.OpenFile(fmt.Sprintf("/proc/%d/fd/%d", first.pid, first.fd), os.O_RDWR, 0); err == nil {
			defer file.Close()
		}
	}
	if file != nil {
		memory, err = unix.Mmap(int(file.Fd()), 0, bytes, access, unix.MAP_SHARED)
	}
	return memory, errors.Join(err, do(request{op: nodeBarrier})) // then the first may close the file
}

// anonymous makes a file of memory, all of it there: the kernel would rather end processes than say that there is none.
func anonymous(bytes int) (*os.File, error) {
	if free, ok := available(); ok && bytes > free {
		return nil, fmt.Errorf("%d are available", free)
	}
	fd, err := unix.MemfdCreate("lte", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	file := os.NewFile(uintptr(fd), "memory of a node")
	if err := unix.Fallocate(fd, 0, 0, int64(bytes)); err != nil {
		file.Close()
		return nil, os.NewSyscallError("fallocate", err)
	}
	return file, nil
}

// available is the memory that the kernel could give without swapping, where it tells.
func available() (bytes int, ok bool) {
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &bytes); n == 1 {
			return bytes << 10, true
		}
	}
	return 0, false
}

// opened is a file that a process has open.
type opened struct{ pid, fd int }

// first returns what the first rank of the node tells.
func (w *World) first(pid, fd int, do func(request) error) (opened, error) {
	const each = 16
	src, dst := make([]byte, each), make([]byte, each*w.nodeSize)
	binary.NativeEndian.PutUint64(src, uint64(pid))
	binary.NativeEndian.PutUint64(src[8:], uint64(fd))
	err := do(request{op: nodeAllgather, dst: dst, src: src, count: each})
	return opened{int(binary.NativeEndian.Uint64(dst)), int(binary.NativeEndian.Uint64(dst[8:]))}, err
}
