//go:build cgo

package mpi

// #cgo CFLAGS: -O2 -Wall
// #include "lte_mpi.h"
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
	"unsafe"

	gompi "github.com/sbromberger/gompi"
)

// thread is the methods' side of the goroutine that makes all MPI calls.
type thread struct {
	requests chan request
	done     chan error
	wake     chan struct{} // signals a request of Abort; capacity 1
	over     chan struct{} // closed when MPI is finalized
}

// finalizeTimeout is how long Abort and Stop wait for MPI to end.
const finalizeTimeout = 5 * time.Second

// Start initializes MPI and returns the group of all ranks. It is called once per process, and ended by Stop, or by Abort when this
// rank fails. A launcher of another MPI library than this program's is an error.
func Start() (*World, error) {
	w := &World{thread: thread{
		requests: make(chan request),
		done:     make(chan error),
		wake:     make(chan struct{}, 1),
		over:     make(chan struct{}),
	}}
	go w.serve()
	if err := <-w.done; err != nil {
		return nil, err
	}
	return w, nil
}

// Stop waits for all ranks and finalizes MPI. Calls after the first do nothing.
//
// If MPI_Finalize hangs (see lte_finish), Stop returns after 5 s: all ranks have finished their work by then.
func (w *World) Stop() error {
	switch err := w.call(request{op: stop}); err {
	case nil:
	case errStopped:
		return nil
	default:
		return err
	}
	select {
	case <-w.over:
	case <-time.After(finalizeTimeout):
	}
	return nil
}

// Abort ends all ranks at once with this exit code (1 to 255) and does not return. Any goroutine may call it, also while another waits
// in a collective.
//
// MPI_Abort runs on the MPI thread, which checks for the request in every wait. If that thread is stuck inside MPI, or MPI fails to end
// the process, os.Exit does so after 5 s: the launcher then sees a failed rank instead of one that waits forever.
func (w *World) Abort(code int) {
	if code < 1 || code > 255 {
		code = 1
	}
	C.lte_request_abort(C.int(code))
	select {
	case w.wake <- struct{}{}:
	default: // already signalled
	}
	select {
	case <-w.over:
	case <-time.After(finalizeTimeout):
	}
	os.Exit(code)
}

// Library names the MPI library of this binary and its version: "MPICH 4.0.2", "Open MPI 4.1.4".
func Library() string {
	var text [8192]C.char
	C.lte_library(&text[0], C.size_t(len(text)))
	line, _, _ := strings.Cut(C.GoString(&text[0]), "\n")
	line, _, _ = strings.Cut(line, ",") // Open MPI v4.1.4, package: …
	line = strings.Replace(line, " Version:", "", 1)
	line = strings.Replace(line, " v", " ", 1)
	return strings.Join(strings.Fields(line), " ")
}

// call serves r on the MPI thread and waits for it.
func (w *World) call(r request) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return errStopped
	}
	w.stopped = r.op == stop
	w.requests <- r
	return <-w.done
}

// serve is the MPI goroutine.
func (w *World) serve() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := w.start(); err != nil {
		w.done <- err
		return
	}
	w.done <- nil
	for {
		select {
		case <-w.wake:
			C.lte_abort_if_requested()
		case r := <-w.requests:
			C.lte_abort_if_requested()
			err := w.do(r)
			w.done <- err
			if r.op == stop && err == nil {
				gompi.Stop()
				close(w.over)
				return
			}
		}
	}
}

func (w *World) start() error {
	// MPICH's SIGUSR1 handler does not ask for the alternate stack that Go's signals need: put Go's handlers back.
	C.lte_signals_save()
	gompi.Start(false)
	C.lte_signals_restore()

	w.rank, w.size = gompi.WorldRank(), gompi.WorldSize() // for errors before ranks are renumbered by node
	w.host, _ = os.Hostname()                             // only for messages: it may be empty
	if err := checkLauncher(w.size, Library()); err != nil {
		gompi.Stop()
		return err
	}
	var at C.lte_topology
	err := w.failure(C.lte_start(&at), 0)
	if err == nil {
		w.rank, w.nodeRank, w.nodeSize, w.nodes = int(at.rank), int(at.node_rank), int(at.node_size), int(at.nodes)
		err = w.exchangeLocations()
	}
	if err != nil {
		// The other ranks wait inside MPI, and the caller gets no World to abort them with.
		fmt.Fprintln(os.Stderr, err)
		C.lte_request_abort(1)
		C.lte_abort_if_requested()
		return err
	}
	return nil
}

// exchangeLocations gathers the location of every rank, chooses how this one waits, and sets up synchronization within nodes.
func (w *World) exchangeLocations() error {
	own := localLocation(w.host)
	all := make([]uint64, w.size*locationWords) // (size, locationWords)
	if err := w.do(request{op: allgather, dst: bytesOf(all), src: bytesOf(own.encode()), count: 8 * locationWords}); err != nil {
		return err
	}
	locations, most := make([]location, w.size), 0
	for k := range locations {
		l, words := decodeLocation(all[k*locationWords:])
		locations[k], most = l, max(most, words)
	}
	if most > 0 {
		all, mask := make([]uint64, w.size*most), make([]uint64, most) // (size, most), (most)
		copy(mask, own.cores)
		if err := w.do(request{op: allgather, dst: bytesOf(all), src: bytesOf(mask), count: 8 * most}); err != nil {
			return err
		}
		for k := range locations {
			locations[k].cores = all[k*most : (k+1)*most]
		}
	}
	w.machine, w.mostLoaded = machineLoad(locations, w.rank), mostLoaded(locations)
	if w.machine.oversubscribed() {
		useBatchScheduling()
	}
	C.lte_set_waiting(C.bool(w.machine.oversubscribed()), C.bool(w.mostLoaded.oversubscribed()))
	if w.nodes == w.size {
		return nil
	}
	sync, err := w.nodeMemory(C.sizeof_lte_node_sync, w.do)
	if err != nil { // ranks without shared memory are nodes of their own
		w.sharedMemoryError = err
		C.lte_unshare_node()
		w.nodeRank, w.nodeSize, w.nodes = 0, 1, w.size
		return nil
	}
	C.lte_use_node_sync((*C.lte_node_sync)(unsafe.Pointer(&sync[0])))
	return nil
}

func (w *World) do(r request) error {
	switch r.op {
	case barrier:
		return w.failure(C.lte_barrier(), 0)
	case allgather:
		return w.failure(C.lte_allgather(unsafe.Pointer(&r.dst[0]), unsafe.Pointer(&r.src[0]), C.int(r.count)), r.count)
	case alltoall:
		return w.failure(C.lte_alltoall(unsafe.Pointer(&r.dst[0]), unsafe.Pointer(&r.src[0]), C.int(r.count)), r.count)
	case allgatherShared:
		return w.failure(C.lte_allgather_shared(unsafe.Pointer(&r.dst[0]), unsafe.Pointer(&r.src[0]), C.int(r.count)), r.count)
	case alltoallShared:
		recv := unsafe.Pointer(unsafe.SliceData(r.dst)) // nil where there is one node
		return w.failure(C.lte_alltoall_shared(recv, unsafe.Pointer(&r.src[0]), C.int(r.count)), r.count)
	case nodeBarrier:
		return w.failure(C.lte_node_barrier(), 0)
	case nodeAllgather:
		return w.failure(C.lte_node_allgather(unsafe.Pointer(&r.dst[0]), unsafe.Pointer(&r.src[0]), C.int(r.count)), r.count)
	case yieldWhileWaiting:
		C.lte_set_waiting(true, true)
		return nil
	case stop:
		return w.failure(C.lte_finish(), 0)
	}
	panic("mpi: unknown request")
}

// failure returns the error of an MPI return code, nil for success; block is the block size of the call in bytes, 0 where it has none.
func (w *World) failure(r C.lte_result, block int) error {
	if r.code == 0 {
		return nil
	}
	var text [2048]C.char
	C.lte_error_text(r.code, &text[0], C.size_t(len(text)))
	of := ""
	if block > 0 {
		of = fmt.Sprintf(" of %d bytes", block)
	}
	return fmt.Errorf("mpi: rank %d/%d: %s%s: %s", w.rank, w.size, C.GoString(r.call), of, C.GoString(&text[0]))
}
