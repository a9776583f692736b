package bench

import (
	"time"

	"lte/collective"
)

// IntervalRate is the FLOP/s of a rank over intervals of k local steps, after each of which ranks wait for the slowest: the FLOPs of Step
// divided by the time of an interval without that of a barrier. If ranks share cores it is the rate of one rank's share. It measures
// for about the given time, over intervals of fewer steps if k steps take longer, but at least 3. Every rank of the group calls it and
// gets the same result.
func IntervalRate(o Options, g collective.Group, k int, long time.Duration) (float64, error) {
	t, batch, meter, err := o.trainer(collective.Alone{})
	if err := collective.Agree(g, err); err != nil {
		return 0, err
	}
	// intervals returns the mean time of an interval in seconds, over all intervals and ranks.
	intervals := func(times, steps int) (float64, error) {
		if err := g.Barrier(); err != nil {
			return 0, err
		}
		var failed error
		began := time.Now()
		for range times {
			for i := 0; i < steps && failed == nil; i++ {
				failed = step(t, batch)
			}
			if err := g.Barrier(); err != nil {
				return 0, err
			}
		}
		seconds := []float64{time.Since(began).Seconds() / float64(times)}
		if err := collective.Agree(g, failed); err != nil {
			return 0, err
		}
		err := collective.Sum(g, seconds)
		return seconds[0] / float64(g.Size()), err
	}
	if _, err := intervals(1, o.Warmup); err != nil {
		return 0, err
	}
	barrier, err := intervals(barriers, 0)
	if err != nil {
		return 0, err
	}
	one, err := intervals(1, 1)
	if err != nil {
		return 0, err
	}
	steps := min(k, max(3, int(long.Seconds()/one)))
	times := max(1, 3/steps, int(long.Seconds()/(float64(steps)*one)))
	meter.Reset()
	seconds, err := intervals(times, steps)
	return meter.FLOPs() / float64(times) / (seconds - barrier), err
}

const barriers = 100 // measured, for the time of one
