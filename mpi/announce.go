package mpi

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"
)

// When a slow start is announced.
const (
	announceAfter = 3 * time.Second
	announceEvery = 30 * time.Second
)

// startTime is the approximate CPU time that starting a rank takes.
const startTime = 500 * time.Millisecond

// Announce reports on the first rank that the launcher's ranks are starting, once that has lasted for some seconds, and again every half
// minute. The caller calls started when they have started, or failed to.
func Announce(w io.Writer) (started func()) { return announce(w, announceAfter, announceEvery) }

func announce(w io.Writer, after, every time.Duration) (started func()) {
	n, _ := launcherSize()
	if n == 1 || LauncherRank() > 0 {
		return func() {}
	}
	began, over := time.Now(), make(chan struct{})
	host, _ := os.Hostname()
	ranks := startup{ranks: n, here: LauncherLocalSize(), cores: coresHere("/proc", os.Getpid()), host: host}
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for next := time.NewTimer(after); ; next.Reset(every) {
			select {
			case <-over:
				return
			case <-next.C:
				fmt.Fprintf(w, "lte: %s\n", ranks.text(time.Since(began)))
			}
		}
	})
	return func() {
		close(over)
		waiting.Wait()
	}
}

// startup describes the ranks that a launcher starts.
type startup struct {
	ranks       int // on all machines
	here, cores int // on this machine
	host        string
}

// text is the announcement after a start that has lasted so long.
func (s startup) text(lasted time.Duration) string {
	cores := fmt.Sprintf("%d cores", s.cores)
	if s.cores == 1 {
		cores = "1 core"
	}
	t := fmt.Sprintf("starting %d ranks on %s of %s", s.ranks, cores, s.host)
	if s.here < s.ranks {
		t = fmt.Sprintf("starting %d ranks, %d of them on %s of %s", s.ranks, s.here, cores, s.host)
	}
	t += fmt.Sprintf(", %v so far", lasted.Round(time.Second))
	if long := time.Duration(s.here) * startTime / time.Duration(s.cores); s.here > s.cores && long > 2*lasted {
		t += fmt.Sprintf("; this takes about %v, as they share the cores", long.Round(5*time.Second))
		if s.here > 8*s.cores {
			t += ": fewer ranks with several heads each (lora.heads) start sooner"
		}
	}
	return t
}

// coresHere estimates, before MPI is up, the number of cores that the ranks of this machine may use together: the most of this process's,
// those of the launcher's process that started it, which launchers do not bind, and SLURM's number for the node; at most the control
// group's limit.
func coresHere(proc string, pid int) int {
	cores := max(1, countBits(affinity(pid)))
	if p := starter(proc, pid); p > 0 {
		cores = max(cores, countBits(affinity(p)))
	}
	if n, err := strconv.Atoi(os.Getenv("SLURM_CPUS_ON_NODE")); err == nil {
		cores = max(cores, n)
	}
	if limit := cpuLimit(os.DirFS("/")).millicores; limit > 0 {
		cores = max(1, min(cores, int(limit/1000)))
	}
	return cores
}
