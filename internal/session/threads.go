package session

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"lte/config"
	"lte/mpi"
)

// Threads is the number of compute threads of a rank: as configured, else OMP_NUM_THREADS, else the machine's cores over its ranks.
func Threads(configured int, w *mpi.World) (int, error) {
	cores := max(w.MachineCores(), runtime.NumCPU())
	if configured > 0 {
		return configured, CheckThreads("compute.threads = ", configured, cores)
	}
	if s := os.Getenv("OMP_NUM_THREADS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return 0, &config.Error{Where: "OMP_NUM_THREADS", Problem: fmt.Sprintf("expected a number of threads, at least 1, got %q: correct it, unset it or set compute.threads", s)}
		}
		return n, CheckThreads("OMP_NUM_THREADS=", n, cores)
	}
	return max(1, w.MachineCores()/w.MachineSize()), nil
}

// A rank may have threadsPerCore threads for each core of its machine, and at least minThreads.
const (
	threadsPerCore = 16
	minThreads     = 64
)

// CheckThreads is an error of more threads than a machine of so many cores can use. setting is the text that sets n, up to the number.
func CheckThreads(setting string, n, cores int) error {
	if most := max(minThreads, threadsPerCore*cores); n > most {
		return &config.Error{Problem: fmt.Sprintf("%s%d: at most %d threads per rank on the %d cores of this machine (%d per core, or %d): lower it", setting, n, most, cores,
			threadsPerCore, minThreads)}
	}
	return nil
}
