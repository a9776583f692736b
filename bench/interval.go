package bench

import (
	"time"

	"lte/collective"
	"lte/compute"
)

// IntervalRate is the operations a second that a rank makes over intervals of k local steps, after which ranks wait for the
// slowest of them: the FLOPs of Step over the time of an interval, less that of a barrier. Where ranks share cores it is that of a
// share. Intervals are made for about that long, of fewer steps where k of them last longer, but not of fewer than 3. Every rank of
// the group calls it and gets the same.
func IntervalRate(o Options, g collective.Group, k int, long time.Duration) (float64, error) {
	t, batch, meter, err := o.trainer(collective.Alone{})
	if err := collective.Agree(g, err); err != nil {
		return 0, err
	}
	// intervals is their mean time, in seconds, by all ranks' clocks.
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
	*meter.Tallies = [compute.Kinds]compute.Tally{}
	seconds, err := intervals(times, steps)
	flops := 0.0
	for _, tally := range meter.Tallies {
		flops += tally.FLOPs
	}
	return flops / float64(times) / (seconds - barrier), err
}

const barriers = 100 // that are measured
