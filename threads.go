package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"lte/config"
	"lte/mpi"
)

// threadsPerRank is the configured number; else OMP_NUM_THREADS; else the node's cores shared out among its ranks.
func threadsPerRank(configured int, w *mpi.World) (int, error) {
	cores := max(w.MachineCores(), runtime.NumCPU())
	if configured > 0 {
		return configured, checkThreads("compute.threads = ", configured, cores)
	}
	if s := os.Getenv("OMP_NUM_THREADS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return 0, &config.Error{Where: "OMP_NUM_THREADS", Problem: fmt.Sprintf("expected a number of threads from 1, got %q: mend it, unset it or set compute.threads", s)}
		}
		return n, checkThreads("OMP_NUM_THREADS=", n, cores)
	}
	return max(1, w.MachineCores()/w.MachineSize()), nil
}

// threadsPerCore bounds the threads of a rank, and leastThreads those where there are few cores.
const (
	threadsPerCore = 16
	leastThreads   = 64
)

// checkThreads is an error of more threads than a machine of so many cores can use. setting is what says how many.
func checkThreads(setting string, n, cores int) error {
	if most := max(leastThreads, threadsPerCore*cores); n > most {
		return &config.Error{Problem: fmt.Sprintf("%s%d: at most %d threads of a rank on the %d cores here (%d a core, or %d): lower it", setting, n, most, cores,
			threadsPerCore, leastThreads)}
	}
	return nil
}
