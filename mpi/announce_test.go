package mpi

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// launcherSays sets the environment of a process that a launcher started.
func launcherSays(t *testing.T, env map[string]string) {
	t.Helper()
	for _, name := range append([]string{"PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID", "SLURM_CPUS_ON_NODE",
		"MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "SLURM_STEP_TASKS_PER_NODE"}, launcherVariables...) {
		t.Setenv(name, "") // is set back when the test ends
		if value, ok := env[name]; ok {
			t.Setenv(name, value)
		} else if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
}

// said is a buffer that any goroutine may write to.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) lines() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Count(s.text.String(), "\n")
}

// A slow start is announced on the first rank, repeatedly until it is over, and never afterwards.
func TestSlowStartIsAnnouncedOnTheFirstRank(t *testing.T) {
	mpich := func(rank, size, here string) map[string]string {
		return map[string]string{"PMI_RANK": rank, "PMI_SIZE": size, "MPI_LOCALNRANKS": here}
	}
	for name, c := range map[string]struct {
		env  map[string]string
		want string // "": nothing
	}{
		"MPICH":          {mpich("0", "4000", "4000"), "lte: starting 4000 ranks on "},
		"Open MPI":       {map[string]string{"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "3000", "OMPI_COMM_WORLD_LOCAL_SIZE": "30"}, "lte: starting 3000 ranks, 30 of them on "},
		"SLURM":          {map[string]string{"SLURM_PROCID": "0", "SLURM_NTASKS": "12", "SLURM_STEP_TASKS_PER_NODE": "4(x3)"}, "lte: starting 12 ranks, 4 of them on "},
		"another rank":   {mpich("1", "4000", "4000"), ""},
		"one rank":       {mpich("0", "1", "1"), ""},
		"not a launcher": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			launcherSays(t, c.env)
			var out said
			started := announce(&out, time.Millisecond, time.Millisecond)
			for deadline := time.Now().Add(10 * time.Second); c.want != "" && out.lines() < 3 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			started()
			n := out.lines()
			time.Sleep(5 * time.Millisecond)
			if c.want == "" && n > 0 || c.want != "" && n < 3 || out.lines() != n {
				t.Errorf("%d lines, then %d", n, out.lines())
			}
			if c.want != "" && strings.Count(out.text.String(), c.want) != n {
				t.Errorf("%q lacks %q", out.text.String(), c.want)
			}
		})
	}
}

func TestShortStartIsNotAnnounced(t *testing.T) {
	launcherSays(t, map[string]string{"PMI_RANK": "0", "PMI_SIZE": "8", "MPI_LOCALNRANKS": "8"})
	var out said
	announce(&out, time.Hour, time.Hour)()
	if out.lines() > 0 {
		t.Errorf("%q", out.text.String())
	}
}

func TestAnnouncementText(t *testing.T) {
	for _, c := range []struct {
		s      startup
		lasted time.Duration
		want   string
	}{
		{startup{200, 200, 1, "h"}, 3 * time.Second, "starting 200 ranks on 1 core of h, 3s so far; this takes about 1m40s, as they share the cores: fewer ranks with several heads each (lora.heads) start sooner"},
		{startup{200, 200, 1, "h"}, 93 * time.Second, "starting 200 ranks on 1 core of h, 1m33s so far"},
		{startup{64, 32, 4, "h"}, 1 * time.Second, "starting 64 ranks, 32 of them on 4 cores of h, 1s so far; this takes about 5s, as they share the cores"},
		{startup{16, 16, 16, "h"}, 3 * time.Second, "starting 16 ranks on 16 cores of h, 3s so far"},
	} {
		if got := c.s.text(c.lasted); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// Fails if the cores that a rank is bound to are taken for all cores of the machine.
func TestCoresHereIncludesThoseOfOtherRanks(t *testing.T) {
	launcherSays(t, nil)
	all := coresHere("/proc", os.Getpid())
	if all < 1 || all > runtime.NumCPU() {
		t.Errorf("%d cores of %d", all, runtime.NumCPU())
	}
	t.Setenv("SLURM_CPUS_ON_NODE", fmt.Sprint(all+64))
	if limit := cpuLimit(os.DirFS("/")).millicores; limit == 0 && coresHere("/proc", os.Getpid()) != all+64 {
		t.Errorf("%d cores, SLURM says %d", coresHere("/proc", os.Getpid()), all+64)
	}
}
