package bench

import (
	"runtime"
	"time"

	"lte/collective"
	"lte/random"

	"golang.org/x/sys/unix"
)

// Wait is what waiting for one another costs ranks that compute for uneven times between collectives.
type Wait struct {
	Kind    string  `json:"kind"` // "wait"
	Ranks   int     `json:"ranks"`
	Cores   int     `json:"cores"` // of this machine, for its ranks
	WorkMS  float64 `json:"work_ms"`
	Bytes   int     `json:"bytes"`
	Rounds  int     `json:"rounds"`
	RoundMS float64 `json:"round_ms"` // of wall time
	IdealMS float64 `json:"ideal_ms"` // of computing alone, perfectly shared out among the cores
	Waste   float64 `json:"waste"`    // RoundMS / IdealMS: 1 is none
}

// RunWait has every rank compute for half to one and a half times the work, of its own processor time, and then take the mean of that
// many bytes with the others, again and again. Every rank of the group, all of one machine, calls it.
func RunWait(g collective.Group, cores int, work time.Duration, bytes, rounds int) (Wait, error) {
	w := Wait{Kind: "wait", Ranks: g.Size(), Cores: cores, WorkMS: 1e3 * work.Seconds(), Bytes: bytes, Rounds: rounds}
	mean, err := collective.NewMean(g, bytes/4)
	if err != nil {
		return w, err
	}
	x := make([]float32, bytes/4)
	part := func(round, rank int) float64 { // seconds
		return work.Seconds() * (0.5 + random.Stream(0, "wait", uint64(round), uint64(rank)).Float64())
	}
	if err := mean.Average(x); err != nil { // connections are made
		return w, err
	}
	began := time.Now()
	for round := range rounds {
		total, longest := 0.0, 0.0
		for rank := range w.Ranks {
			p := part(round, rank)
			total, longest = total+p, max(longest, p)
		}
		w.IdealMS += 1e3 * max(longest, total/float64(min(cores, w.Ranks))) / float64(rounds)
		burn(part(round, g.Rank()))
		if err := mean.Average(x); err != nil {
			return w, err
		}
	}
	w.RoundMS = 1e3 * time.Since(began).Seconds() / float64(rounds)
	w.Waste = w.RoundMS / w.IdealMS
	return w, nil
}

// burn takes that many seconds of this thread's processor time.
func burn(seconds float64) {
	runtime.LockOSThread() // another thread's time would end it early or late
	defer runtime.UnlockOSThread()
	for end := threadSeconds() + seconds; threadSeconds() < end; {
	}
}

func threadSeconds() float64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // fails only for a clock that there is not
	return float64(t.Sec) + 1e-9*float64(t.Nsec)
}
