package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"lte/config"
	"lte/mpi"
	"lte/train"
)

// began is when the program started, from which run.time_limit counts.
var began = time.Now()

// stopped is a run that was interrupted, on all ranks.
type stopped struct {
	*train.InterruptedError
	why string
}

func (s *stopped) Error() string {
	text := fmt.Sprintf("%s: %v", s.why, s.InterruptedError)
	if s.Saved {
		text += "; --resume goes on from it"
	}
	return text
}

func (s *stopped) Unwrap() error { return s.InterruptedError }

// outOfTime is the reason to end that is no signal's number.
const outOfTime = 1 << 16

// together is how long a signal that comes again is the same request: launchers forward what reached their whole group.
const together = 500 * time.Millisecond

// signals are those that a configuration may name.
var signals = map[string]os.Signal{"TERM": syscall.SIGTERM, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2, "INT": syscall.SIGINT}

// ending is why this rank wants the run to end early, if it does: a signal, or the time limit. It sees to it that the job ends
// within checkpoint.grace from then on, with the checkpoint or without. Before training has started there is nothing to save, and a
// signal ends the job at once.
type ending struct {
	asked    atomic.Uint64
	training atomic.Bool
	deadline time.Time // zero: none
	grace    time.Duration
	abort    func(cause any) // with an exit code of failed
	leave    func(cause any) // likewise of interrupted
}

// watch begins to wait for signals, unless the run keeps no checkpoints: they then end it as they end any program.
func watch(world *mpi.World, c config.Config, stderr io.Writer) *ending {
	e := &ending{grace: time.Duration(c.Checkpoint.Grace * float64(time.Second)), abort: aborter(world, stderr, failed),
		leave: aborter(world, stderr, interrupted)}
	if c.Checkpoint.Keep == 0 {
		return e
	}
	if limit := deadline(c.Run.TimeLimit, os.Getenv("SLURM_JOB_END_TIME")); !limit.IsZero() && world.Rank() == 0 {
		e.deadline = limit.Add(-e.grace)
	}
	var wanted []os.Signal
	for _, name := range c.Checkpoint.Signals {
		wanted = append(wanted, signals[name])
	}
	if len(wanted) > 0 {
		come := make(chan os.Signal, 8)
		signal.Notify(come, wanted...)
		go e.listen(come)
	}
	return e
}

// deadline is when the job will be ended: minutes from the start, or at the end of the SLURM job, in Unix seconds.
func deadline(minutes float64, slurm string) (at time.Time) {
	if minutes > 0 {
		at = began.Add(time.Duration(minutes * float64(time.Minute)))
	}
	if end, err := strconv.ParseInt(slurm, 10, 64); err == nil && end > 0 && (at.IsZero() || time.Unix(end, 0).Before(at)) {
		at = time.Unix(end, 0)
	}
	return at
}

// arm makes later signals requests for a checkpoint: training starts.
func (e *ending) arm() { e.training.Store(true) }

// listen takes signals: the first is a request, a later one ends the job.
func (e *ending) listen(come <-chan os.Signal) {
	first := (<-come).(syscall.Signal)
	if !e.training.Load() {
		e.leave(fmt.Sprintf("%s before the first step: nothing was trained yet", e.why(uint64(first))))
		return
	}
	at := time.Now()
	e.ask(uint64(first))
	for s := range come {
		if time.Since(at) > together {
			e.abort(fmt.Sprintf("%v, the second signal: ended without a checkpoint of this step", s))
		}
	}
}

// ask requests the end; the job ends after the grace time whatever happens.
func (e *ending) ask(reason uint64) {
	if e.asked.CompareAndSwap(0, reason) {
		time.AfterFunc(e.grace, func() {
			e.abort(fmt.Sprintf("%s: no checkpoint within checkpoint.grace = %v: ended without it", e.why(reason), e.grace))
		})
	}
}

// reason is train.Keeping's Stop.
func (e *ending) reason() uint64 {
	if !e.deadline.IsZero() && time.Now().After(e.deadline) {
		e.ask(outOfTime)
	}
	return e.asked.Load()
}

// why says a reason.
func (e *ending) why(reason uint64) string {
	if reason == outOfTime {
		return "the time limit is near"
	}
	for name, s := range signals {
		if uint64(s.(syscall.Signal)) == reason {
			return "SIG" + name
		}
	}
	return fmt.Sprintf("signal %d", reason)
}
