package session

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

	"golang.org/x/sys/unix"
)

// interruptedError is the error of a run that was interrupted, on all ranks.
type interruptedError struct {
	*train.InterruptedError
	reason string
}

func (e *interruptedError) Error() string {
	text := fmt.Sprintf("%s: %v", e.reason, e.InterruptedError)
	if e.Saved {
		text += "; start again with --resume"
	}
	return text
}

func (e *interruptedError) Unwrap() error { return e.InterruptedError }

// outOfTime is the reason to stop that is no signal's number.
const outOfTime = 1 << 16

// sameRequest is how long a second signal still belongs to the first request: launchers forward what their whole process group got.
const sameRequest = 500 * time.Millisecond

// stopRequest is why this rank wants the run to stop early, if it does: a signal, or the time limit. From the request on the job ends within
// checkpoint.grace, with the checkpoint or without. Before training starts there is nothing to save, and a signal ends the job at once.
type stopRequest struct {
	requested atomic.Uint64 // the reason; 0: none
	training  atomic.Bool   // signals are requests for a checkpoint from now on
	deadline  time.Time     // zero: none
	grace     time.Duration
	abort     func(cause any) // with ExitFailed
	leave     func(cause any) // with ExitInterrupted
}

// newStopRequest starts to listen for signals, unless the run keeps no checkpoints: they then end it as they end any program.
func newStopRequest(world *mpi.World, p Program, c config.Config, stderr io.Writer) *stopRequest {
	r := &stopRequest{grace: time.Duration(c.Checkpoint.Grace * float64(time.Second)), abort: aborter(world, stderr, ExitFailed),
		leave: aborter(world, stderr, ExitInterrupted)}
	if c.Checkpoint.Keep == 0 {
		return r
	}
	if limit := deadline(p.Started, c.Run.TimeLimit, os.Getenv("SLURM_JOB_END_TIME")); !limit.IsZero() && world.Rank() == 0 {
		r.deadline = limit.Add(-r.grace)
	}
	var wanted []os.Signal
	for _, name := range c.Checkpoint.Signals {
		wanted = append(wanted, unix.SignalNum("SIG"+name))
	}
	if len(wanted) > 0 {
		received := make(chan os.Signal, 8)
		signal.Notify(received, wanted...)
		go r.listen(received)
	}
	return r
}

// deadline is when the job will be ended: so many minutes after its start, or at the end of the SLURM job, in Unix seconds; zero: never.
func deadline(started time.Time, minutes float64, slurm string) (at time.Time) {
	if minutes > 0 {
		at = started.Add(time.Duration(minutes * float64(time.Minute)))
	}
	if end, err := strconv.ParseInt(slurm, 10, 64); err == nil && end > 0 && (at.IsZero() || time.Unix(end, 0).Before(at)) {
		at = time.Unix(end, 0)
	}
	return at
}

// listen takes signals: the first is a request, a later one ends the job.
func (r *stopRequest) listen(received <-chan os.Signal) {
	first := (<-received).(syscall.Signal)
	if !r.training.Load() {
		r.leave(fmt.Sprintf("%s before the first step: nothing was trained yet", reasonText(uint64(first))))
		return
	}
	at := time.Now()
	r.request(uint64(first))
	for s := range received {
		if time.Since(at) > sameRequest {
			r.abort(fmt.Sprintf("%v, the second signal: ended without a checkpoint of this step", s))
		}
	}
}

// request requests the end; the job ends after the grace time whatever happens.
func (r *stopRequest) request(reason uint64) {
	if r.requested.CompareAndSwap(0, reason) {
		time.AfterFunc(r.grace, func() {
			r.abort(fmt.Sprintf("%s: no checkpoint within checkpoint.grace = %v: ended without it", reasonText(reason), r.grace))
		})
	}
}

// reason is why the run is to stop now; 0: it is not.
func (r *stopRequest) reason() uint64 {
	if !r.deadline.IsZero() && time.Now().After(r.deadline) {
		r.request(outOfTime)
	}
	return r.requested.Load()
}

// reasonText is a reason in words.
func reasonText(reason uint64) string {
	if reason == outOfTime {
		return "the time limit is near"
	}
	if name := unix.SignalName(syscall.Signal(reason)); name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", reason)
}
