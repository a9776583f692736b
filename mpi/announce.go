package mpi

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// When a start that lasts is told of.
const (
	announceAfter = 3 * time.Second
	announceEvery = 30 * time.Second
)

// startTime is what a rank's start takes of a core, roughly.
const startTime = 500 * time.Millisecond

// Announce tells of the launcher's ranks once their start has lasted for some seconds, and again every half minute, on the first of
// them. The function that it returns is called when they have started, or failed to.
func Announce(w io.Writer) (started func()) { return announce(w, announceAfter, announceEvery) }

func announce(w io.Writer, after, every time.Duration) (started func()) {
	n, _ := launched()
	if n == 1 || !FirstOfLaunch() {
		return func() {}
	}
	began, over, ended := time.Now(), make(chan struct{}), make(chan struct{})
	host, _ := os.Hostname()
	ranks := starting{ranks: n, here: LaunchedHere(), cores: coresHere("/proc", os.Getpid()), host: host}
	go func() {
		defer close(ended)
		for next := time.NewTimer(after); ; next.Reset(every) {
			select {
			case <-over:
				return
			case <-next.C:
				fmt.Fprintf(w, "lte: %s\n", ranks.text(time.Since(began)))
			}
		}
	}()
	return func() {
		close(over)
		<-ended
	}
}

// starting is what a launcher says of the ranks that it starts.
type starting struct {
	ranks       int // of all machines
	here, cores int // of this one
	host        string
}

// text is what there is to say after so long.
func (s starting) text(lasted time.Duration) string {
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

// coresHere is the number of cores that the ranks of this machine may use together, as far as that is known before they have met: this
// process's, those of the launcher's process that started it, which launchers bind to none, or what SLURM says of the node; and no
// more than the control group's limit.
func coresHere(proc string, pid int) int {
	cores := 1
	for _, p := range []int{pid, starter(proc, pid)} {
		var set unix.CPUSet
		if p > 0 && unix.SchedGetaffinity(p, &set) == nil {
			cores = max(cores, set.Count())
		}
	}
	if n, err := strconv.Atoi(os.Getenv("SLURM_CPUS_ON_NODE")); err == nil {
		cores = max(cores, n)
	}
	if limit := cpuLimit(os.DirFS("/")).millicores; limit > 0 {
		cores = max(1, min(cores, int(limit/1000)))
	}
	return cores
}
