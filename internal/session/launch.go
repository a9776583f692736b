package session

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"syscall"

	"lte/collective"
	"lte/compute"
	"lte/config"
	"lte/data"
	"lte/internal/quote"
	"lte/mpi"
	"lte/train"
)

// Exit codes, besides 0.
const (
	ExitFailed      = 1
	ExitUsage       = 2  // the command line, the configuration or the run directory must be changed
	ExitInterrupted = 75 // a checkpoint is written: start again with --resume
)

// Launch starts MPI, calls task on this rank and returns the exit code of the process. An error that all ranks share is printed once and all
// of them stop MPI; any other error of one rank, a panic included, is printed by that rank and aborts the whole job at once, so that no rank
// waits for it.
func Launch(stderr io.Writer, task func(*mpi.World) error) (code int) {
	started := mpi.Announce(stderr)
	world, err := mpi.Start()
	started()
	if err != nil { // with the launcher of another MPI every process is rank 0; what the launcher says of ranks is right
		if mpi.LauncherRank() > 0 {
			return 0
		}
		return PrintError(stderr, err)
	}
	abort := aborter(world, stderr, ExitFailed)
	defer func() {
		if cause := recover(); cause != nil {
			fmt.Fprintf(stderr, "%s", debug.Stack())
			abort(fmt.Sprintf("panic: %v", cause))
			code = ExitFailed
		}
	}()
	err = task(world)
	if err != nil && !shared(err) {
		abort(err)
		return ExitFailed
	}
	// Printed before the barrier in Stop: a launcher kills the other ranks once one has exited with an error.
	code = printOnce(stderr, err, world.Rank())
	if err := world.Stop(); err != nil {
		abort(err)
		return ExitFailed
	}
	return code
}

// PrintError prints an error, if there is one, and returns its exit code.
func PrintError(stderr io.Writer, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "lte: %s\n", quote.Error(err))
	if stop := new(interruptedError); errors.As(err, &stop) && stop.Saved {
		return ExitInterrupted
	}
	if errors.As(err, new(*config.Error)) || errors.As(err, new(*data.OptionError)) || errors.As(err, new(*HeldError)) {
		return ExitUsage
	}
	return ExitFailed
}

// printOnce prints a shared error on one rank: the first that has it.
func printOnce(stderr io.Writer, err error, rank int) int {
	first := 0
	if f := new(collective.Failure); errors.As(err, &f) {
		if first = f.Rank; f.Err == nil {
			return 0 // the error is another rank's; launchers report that rank's exit code
		}
	}
	if rank != first {
		stderr = io.Discard
	}
	return PrintError(stderr, err)
}

// shared says whether all ranks have an error of that kind at the same point.
func shared(err error) bool {
	return errors.As(err, new(*collective.Failure)) || errors.As(err, new(*train.NonFiniteError)) || errors.As(err, new(*collective.LockstepError)) ||
		errors.As(err, new(*train.CheckpointError)) || errors.As(err, new(*interruptedError))
}

// aborter returns a function that prints this rank's number and the cause, and ends all ranks with an exit code.
func aborter(world *mpi.World, stderr io.Writer, code int) func(cause any) {
	return func(cause any) {
		if world.Rank() > 0 && mpi.StandardError() != nil { // rank 0's progress bar may be in the last line of the terminal
			fmt.Fprintln(stderr)
		}
		fmt.Fprintf(stderr, "rank %d/%d %s: %s\n", world.Rank(), world.Size(), quote.Text(world.Host()), quote.Text(fmt.Sprint(cause)))
		world.Abort(code)
	}
}

// DisableSpinning restarts the program with OpenMP threads that sleep while they wait, where ranks and threads outnumber the cores: a
// spinning thread then takes the core from a working one, hundreds of times slower. libgomp reads its environment before main.
// threads is the configured number of a rank; 0: OMP_NUM_THREADS.
func DisableSpinning(threads int) {
	if threads == 0 {
		threads, _ = strconv.Atoi(os.Getenv("OMP_NUM_THREADS"))
	}
	_, count := os.LookupEnv("GOMP_SPINCOUNT")
	_, policy := os.LookupEnv("OMP_WAIT_POLICY")
	if count || policy || !compute.Oversubscribed(mpi.LauncherLocalSize(), threads) {
		return
	}
	if self, err := os.Executable(); err == nil {
		_ = syscall.Exec(self, os.Args, append(os.Environ(), "OMP_WAIT_POLICY=passive")) // returns only if it fails
	}
}
