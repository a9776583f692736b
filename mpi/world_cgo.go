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
	wake     chan struct{} // Abort's bell; holds 1
	over     chan struct{} // closed when MPI is finalised
}

// How long MPI may take to end the process before Abort does, and to end itself before Stop goes on.
const (
	abortGrace = 5 * time.Second
	stopGrace  = 5 * time.Second
)

// Start starts MPI and returns the group of all ranks. It is called once a process, and ended by Stop, or by Abort when this
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

// Stop waits for all ranks and ends MPI. Calls after the first do nothing.
//
// Should MPI_Finalize hang once all ranks are ready for it (see lte_leave), Stop returns 5 s later: nothing is left to be lost.
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
	case <-time.After(stopGrace):
	}
	return nil
}

// Abort ends all ranks at once, with this exit code (1 to 255), and does not return. Any goroutine may call it, also while
// another waits in a collective.
//
// MPI_Abort runs on the MPI thread, which looks for the request in every wait. Should that thread be stuck inside MPI, or MPI
// fail to end the process, os.Exit does so after 5 s: a launcher sees a dead rank, but never one that waits for ever.
func (w *World) Abort(code int) {
	if code < 1 || code > 255 {
		code = 1
	}
	C.lte_abort_ask(C.int(code))
	select {
	case w.wake <- struct{}{}:
	default: // it rings already
	}
	select {
	case <-w.over:
	case <-time.After(abortGrace):
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

// call has the MPI thread serve r and waits for it.
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
			C.lte_abort_if_asked()
		case r := <-w.requests:
			C.lte_abort_if_asked()
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

	w.rank, w.size = gompi.WorldRank(), gompi.WorldSize() // for what goes wrong before ranks are numbered node by node
	w.host, _ = os.Hostname()                             // a name for people; none is no failure
	if err := checkLauncher(w.size, Library()); err != nil {
		gompi.Stop()
		return err
	}
	var at C.lte_place
	err := w.failure(C.lte_start(&at), 0)
	if err == nil {
		w.rank, w.nodeRank, w.nodeSize, w.nodes = int(at.rank), int(at.node_rank), int(at.node_size), int(at.nodes)
		err = w.survey()
	}
	if err != nil {
		// The others wait for this rank inside MPI, and the caller will have no World to abort them with.
		fmt.Fprintln(os.Stderr, err)
		C.lte_abort_ask(1)
		C.lte_abort_if_asked()
		return err
	}
	return nil
}

// survey learns of all ranks where they run, and settles how this one waits.
func (w *World) survey() error {
	mine := here(w.host)
	var mask [1024]uint64 // 65,536 CPUs, more than a cpu_set_t has
	mine.cores = mask[:C.lte_affinity((*C.uint64_t)(&mask[0]), C.int(len(mask)))]
	src, dst := make([]byte, placeBytes), make([]byte, w.size*placeBytes)
	mine.put(src)
	if err := w.do(request{op: allgather, dst: dst, src: src, count: len(src)}); err != nil {
		return err
	}
	places, most := make([]place, w.size), 0
	for k := range places {
		p, words := placeOf(dst[k*placeBytes:])
		places[k], most = p, max(most, words)
	}
	if most > 0 {
		all := make([]uint64, w.size*most) // (size, most)
		if err := w.do(request{op: allgather, dst: raw(all), src: raw(mask[:most]), count: 8 * most}); err != nil {
			return err
		}
		for k := range places {
			places[k].cores = all[k*most : (k+1)*most]
		}
	}
	w.machineSize, w.machineCores = share(places, w.rank)
	w.fullestSize, w.fullestCores = fullest(places)
	if w.machineSize > w.machineCores {
		takeTurns()
	}
	C.lte_waiting(C.bool(w.machineSize > w.machineCores), C.bool(w.fullestSize > w.fullestCores))
	if w.nodes == w.size {
		return nil
	}
	hall, err := w.nodeMemory(C.sizeof_lte_hall, w.do)
	if err != nil { // then it is no node
		w.unshared = err
		C.lte_separate()
		w.nodeRank, w.nodeSize, w.nodes = 0, 1, w.size
		return nil
	}
	C.lte_enter((*C.lte_hall)(unsafe.Pointer(&hall[0])))
	return nil
}

// raw is x as the bytes that it lies in.
func raw(x []uint64) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 8*len(x)) }

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
		comes := unsafe.Pointer(unsafe.SliceData(r.dst)) // nil where all ranks are of one node
		return w.failure(C.lte_alltoall_shared(comes, unsafe.Pointer(&r.src[0]), C.int(r.count)), r.count)
	case nodeBarrier:
		return w.failure(C.lte_node_barrier(), 0)
	case nodeAllgather:
		return w.failure(C.lte_node_allgather(unsafe.Pointer(&r.dst[0]), unsafe.Pointer(&r.src[0]), C.int(r.count)), r.count)
	case patient:
		C.lte_waiting(true, true)
		return nil
	case stop:
		return w.failure(C.lte_leave(), 0)
	}
	panic("mpi: unknown request")
}

// failure is the error of an MPI return code, nil for success; of a call that moves blocks of that many bytes, or none.
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
