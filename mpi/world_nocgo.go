//go:build !cgo

package mpi

import "os"

type thread struct{}

// Start returns a world of one rank: the program was built without cgo, hence without MPI.
func Start() (*World, error) {
	if err := checkLauncher(1, Library()); err != nil {
		return nil, err
	}
	w := &World{size: 1, nodeSize: 1, nodes: 1}
	w.host, _ = os.Hostname()
	w.machine = machineLoad([]location{localLocation(w.host)}, 0)
	w.mostLoaded = w.machine
	return w, nil
}

// Stop ends the world. Calls after the first do nothing.
func (w *World) Stop() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = true
	return nil
}

// call has nothing to do: there are no other ranks.
func (w *World) call(request) error { return w.alone(func() {}) }

// Abort ends the process with this exit code.
func (w *World) Abort(code int) {
	os.Exit(code)
}

// Library names the MPI library of this binary.
func Library() string { return "none" }
