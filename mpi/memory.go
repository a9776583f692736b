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
	if bytes == 0 {
		return nil, nil
	}
	if w.nodes == w.size {
		return make([]byte, bytes), nil
	}
	memory, err := w.shareMemory(bytes)
	well, all := []byte{1}, make([]byte, w.size)
	if err != nil {
		well[0] = 0
	}
	if broken := w.Allgather(all, well); broken != nil {
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
func (w *World) shareMemory(bytes int) (memory []byte, err error) {
	if w.nodeSize == 1 {
		return make([]byte, bytes), nil
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
	all, broken := w.tellNode(os.Getpid(), fd)
	if broken != nil {
		return nil, errors.Join(err, broken)
	}
	if pid, fd := all[0], all[1]; w.nodeRank > 0 && fd >= 0 {
		if file, err = os.OpenFile(fmt.Sprintf("/proc/%d/fd/%d", pid, fd), os.O_RDWR, 0); err == nil {
			defer file.Close()
		}
	}
	if file != nil {
		memory, err = unix.Mmap(int(file.Fd()), 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	return memory, errors.Join(err, w.NodeBarrier()) // then the first may close the file
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

// tellNode gives two numbers to all ranks of the node; it returns theirs, two by two.
func (w *World) tellNode(a, b int) ([]int, error) {
	const each = 16
	src, dst := make([]byte, each), make([]byte, each*w.nodeSize)
	binary.NativeEndian.PutUint64(src, uint64(a))
	binary.NativeEndian.PutUint64(src[8:], uint64(b))
	if err := w.call(request{op: nodeAllgather, dst: dst, src: src, count: each}); err != nil {
		return nil, err
	}
	all := make([]int, 2*w.nodeSize)
	for i := range all {
		all[i] = int(binary.NativeEndian.Uint64(dst[8*i:]))
	}
	return all, nil
}
