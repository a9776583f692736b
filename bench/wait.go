package bench

import (
	"runtime"
	"time"

	"lte/collective"
	"lte/random"

	"golang.org/x/sys/unix"
)

// Wait is the cost of waiting for ranks that compute for unequal times between collectives.
type Wait struct {
	Kind    string  `json:"kind"` // "wait"
	Ranks   int     `json:"ranks"`
	Cores   int     `json:"cores"` // of this machine that its ranks may use
	WorkMS  float64 `json:"work_ms"`
	Bytes   int     `json:"bytes"`
	Rounds  int     `json:"rounds"`
	RoundMS float64 `json:"round_ms"` // wall time
	IdealMS float64 `json:"ideal_ms"` // of the computation alone, divided evenly among the cores
	Waste   float64 `json:"waste"`    // RoundMS / IdealMS: 1 is none
}

// RunWait measures rounds in which every rank computes for 0.5 to 1.5 times the given work, in processor time, and then averages so many
// bytes with the other ranks. Every rank of the group, all on one machine, calls it.
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
	if err := mean.Average(x); err != nil { // establishes connections
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

// burn uses so many seconds of this thread's processor time.
func burn(seconds float64) {
	runtime.LockOSThread() // the clock is the thread's
	defer runtime.UnlockOSThread()
	clock := int32(unix.CLOCK_THREAD_CPUTIME_ID)
	for end := processorTime(clock) + time.Duration(seconds*float64(time.Second)); processorTime(clock) < end; {
	}
}

// processorTime is what a clock of processor time shows.
func processorTime(clock int32) time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(clock, &t) // fails only for an unknown clock
	return time.Duration(t.Nano())
}
