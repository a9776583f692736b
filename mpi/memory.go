package mpi

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"lte/internal/memory"

	"golang.org/x/sys/unix"
)

// The shared memory of a node is an anonymous file (memfd_create) of its first rank; the others open /proc/PID/fd/FD. Unlike an MPI
// window it needs no blocking collective (eight ranks on two cores spin in those), does not depend on the size of /dev/shm, is allocated
// completely or fails at once, and leaves nothing behind however the ranks end.

// NodeBarrier returns when every rank of this node has called it; writes before it are visible to all of them after it.
func (w *World) NodeBarrier() error {
	if w.nodeSize == 1 {
		return w.alone(func() {})
	}
	return w.call(request{op: nodeBarrier})
}

// NodeMemory returns memory of that many bytes, 0 at first, which the ranks of this node share until the process ends. All ranks of the
// world call it with the same size. If one of them cannot get it, all return an error.
func (w *World) NodeMemory(bytes int) ([]byte, error) {
	switch {
	case bytes == 0:
		return nil, nil
	case w.nodes == w.size:
		return make([]byte, bytes), nil
	}
	return w.nodeMemory(bytes, w.call)
}

// nodeMemory is NodeMemory with requests served by do.
func (w *World) nodeMemory(bytes int, do func(request) error) ([]byte, error) {
	memory, err := w.shareMemory(bytes, do)
	ok, all := []byte{1}, make([]byte, w.size)
	if err != nil {
		ok[0] = 0
	}
	if broken := do(request{op: allgather, dst: all, src: ok, count: 1}); broken != nil {
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

// shareMemory maps the memory; it returns when all ranks of the node have mapped it, or failed to.
func (w *World) shareMemory(bytes int, do func(request) error) (memory []byte, err error) {
	const access = unix.PROT_READ | unix.PROT_WRITE
	if w.nodeSize == 1 {
		return unix.Mmap(-1, 0, bytes, access, unix.MAP_ANON|unix.MAP_PRIVATE)
	}
	var file *os.File
	fd := -1
	if w.nodeRank == 0 {
		if file, err = memoryFile(bytes); err == nil {
			defer file.Close()
			fd = int(file.Fd())
		}
	}
	all := make([]int64, 2*w.nodeSize) // (nodeSize, 2): process id and file descriptor of each rank
	src := []int64{int64(os.Getpid()), int64(fd)}
	if broken := do(request{op: nodeAllgather, dst: bytesOf(all), src: bytesOf(src), count: 16}); broken != nil {
		return nil, errors.Join(err, broken)
	}
	if w.nodeRank > 0 {
		if all[1] < 0 {
			err = errors.New("the node's first rank has none")
		} else if file, err = os.OpenFile(fmt.Sprintf("/proc/%d/fd/%d", all[0], all[1]), os.O_RDWR, 0); err == nil {
			defer file.Close()
		}
	}
	if err == nil {
		memory, err = unix.Mmap(int(file.Fd()), 0, bytes, access, unix.MAP_SHARED)
	}
	return memory, errors.Join(err, do(request{op: nodeBarrier})) // the first rank's file must stay open until here
}

// memoryFile creates a file of memory and allocates all of it: otherwise the kernel would kill processes when memory runs out later.
func memoryFile(bytes int) (*os.File, error) {
	if free := memory.Available(os.DirFS("/")); free > 0 && uint64(bytes) > free {
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
