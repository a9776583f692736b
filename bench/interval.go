package bench

import (
	"time"

	"lte/collective"
)

// IntervalRate is the FLOP/s of a rank over intervals of k local steps, after each of which ranks wait for the slowest: the FLOPs of Step
// divided by the time of an interval without that of a barrier. If ranks share cores it is the rate of one rank's share. It measures
// for about the given time, over intervals of fewer steps if k steps take longer, but at least 3. Every rank of the group calls it and
// gets the same result, up to its own FLOPs.
func IntervalRate(o Options, g collective.Group, k int, long time.Duration) (float64, error) {
	t, batch, meter, err := o.trainer(collective.Alone{})
	if err := collective.Agree(g, err); err != nil {
		return 0, err
	}
	began := time.Now()
	i := intervals{
		Group: g,
		clock: func() time.Duration { return time.Since(began) },
		step:  func() error { return step(t, batch) },
		flops: meter.FLOPs,
	}
	return i.rate(o.Warmup, k, long)
}

// intervals measures intervals of steps by a clock that only advances.
type intervals struct {
	collective.Group
	clock func() time.Duration
	step  func() error
	flops func() float64 // of all steps until now
}

// rate is IntervalRate after so many steps that are not measured.
func (m intervals) rate(warmup, k int, long time.Duration) (float64, error) {
	if _, err := m.mean(1, warmup); err != nil {
		return 0, err
	}
	barrier, err := m.mean(barriers, 0)
	if err != nil {
		return 0, err
	}
	one, err := m.mean(1, 1)
	if err != nil {
		return 0, err
	}
	steps := min(k, max(3, int(long.Seconds()/one)))
	times := max(1, 3/steps, int(long.Seconds()/(float64(steps)*one)))
	before := m.flops()
	seconds, err := m.mean(times, steps)
	return (m.flops() - before) / float64(times) / (seconds - barrier), err
}

// mean is the mean time of an interval in seconds, over all intervals and ranks.
func (m intervals) mean(times, steps int) (float64, error) {
	if err := m.Barrier(); err != nil {
		return 0, err
	}
	var failed error
	began := m.clock()
	for range times {
		for i := 0; i < steps && failed == nil; i++ {
			failed = m.step()
		}
		if err := m.Barrier(); err != nil {
			return 0, err
		}
	}
	seconds := []float64{(m.clock() - began).Seconds() / float64(times)}
	if err := collective.Agree(m, failed); err != nil {
		return 0, err
	}
	err := collective.Sum(m, seconds)
	return seconds[0] / float64(m.Size()), err
}

const barriers = 100 // measured, for the time of one
