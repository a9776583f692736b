// Package mpitest runs a test on real ranks: the test binary starts itself again under the launcher, once for each number of
// ranks, and the test's body runs on every rank.
//
//	func TestMain(m *testing.M) { mpitest.Main(m) }
//	func TestSum(t *testing.T) {
//		mpitest.Run(t, []int{1, 2, 8}, func(t *testing.T, w *mpi.World) { … })
//	}
//
// Such tests live in files with `//go:build mpirun`, which `make test-mpi` builds and runs; Run is called at the top level of a
// Test function. LTE_MPIRUN is the launcher with its options, "mpirun" if unset; it must be that of the MPI library that the
// tests were built with.
//
// A test passes if the launcher exits with 0 and every rank reported that it is done: hydra's exit code alone may be 0 for a
// failed job.
package mpitest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"lte/mpi"
)

// Timeout is the time limit of one launch. A TestMain may change it.
var Timeout = 60 * time.Second

const (
	launcher = "LTE_MPIRUN"
	child    = "LTE_MPITEST_CHILD" // set in the ranks
)

var (
	world *mpi.World // of this rank; nil in the process that launches
	ran   bool       // Run called a body here
)

// Main is the body of TestMain.
func Main(m *testing.M) {
	if os.Getenv(child) == "" {
		os.Exit(m.Run())
	}
	var err error
	if world, err = mpi.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if code := m.Run(); code != 0 {
		fail("the tests exit with %d", code)
	}
	if err := world.Stop(); err != nil {
		fail("%v", err)
	}
	if ran {
		fmt.Println(done(world.Rank(), world.Size()))
	}
	os.Exit(0)
}

// Run calls body on each of n ranks, for every n in sizes. A rank that fails or panics aborts the others.
func Run(t *testing.T, sizes []int, body func(t *testing.T, w *mpi.World)) {
	t.Helper()
	if world != nil {
		here(t, body)
		return
	}
	for _, n := range sizes {
		t.Run(fmt.Sprintf("np=%d", n), func(t *testing.T) {
			name, _, _ := strings.Cut(t.Name(), "/")
			out, err := Launch(t, n, []string{child + "=1"}, os.Args[0], "-test.run", "^"+name+"$", "-test.v")
			if err == nil {
				err = allDone(out, n)
			}
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

// here runs body on this rank.
func here(t *testing.T, body func(t *testing.T, w *mpi.World)) {
	ran = true
	defer func() {
		if cause := recover(); cause != nil {
			fail("panic: %v\n%s", cause, debug.Stack())
		}
		if t.Failed() { // also on the way out of t.Fatal
			fail("%s failed", t.Name())
		}
	}()
	body(t, world)
}

// fail reports which rank failed and aborts the job: the others may be waiting for this rank.
func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "rank %d/%d %s: %s\n", world.Rank(), world.Size(), world.Host(), fmt.Sprintf(format, args...))
	world.Abort(1)
}

// done is the line by which a rank reports success. The brackets distinguish rank 1/8 from 11/8.
func done(rank, size int) string { return fmt.Sprintf("[mpitest: rank %d/%d is done]", rank, size) }

func allDone(out string, n int) error {
	for rank := range n {
		if got := strings.Count(out, done(rank, n)); got != 1 {
			return fmt.Errorf("%d × %q in the output of %d ranks, want 1", got, done(rank, n), n)
		}
	}
	return nil
}

// Launch runs a program on n ranks under the launcher, with env (KEY=value) added to the environment, and returns the output of all
// ranks. The error is that of the launcher's exit, or says that Timeout passed: then all its processes were killed.
func Launch(t *testing.T, n int, env []string, args ...string) (string, error) {
	t.Helper()
	return Start(t, n, env, args...).Wait()
}

// Job is a set of ranks that run under the launcher.
type Job struct {
	cmd    *exec.Cmd
	out    *bytes.Buffer
	limit  context.Context
	cancel context.CancelFunc
}

// Start is Launch without waiting for the end.
func Start(t *testing.T, n int, env []string, args ...string) *Job {
	t.Helper()
	mpirun := strings.Fields(os.Getenv(launcher))
	if len(mpirun) == 0 {
		mpirun = []string{"mpirun"}
	}
	if _, err := exec.LookPath(mpirun[0]); err != nil {
		t.Fatalf("no launcher: %v (%s names it, with its options)", err, launcher)
	}
	line := append(append(mpirun, "-np", fmt.Sprint(n)), args...)
	j := &Job{out: &bytes.Buffer{}}
	j.limit, j.cancel = context.WithTimeout(context.Background(), Timeout)
	j.cmd = exec.CommandContext(j.limit, line[0], line[1:]...)
	j.cmd.Env = append(os.Environ(), env...)
	j.cmd.Stdout, j.cmd.Stderr = j.out, j.out
	// TERM first: the launcher then ends its ranks, which may be in groups of their own. KILL for what is left.
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	j.cmd.Cancel = func() error { return syscall.Kill(-j.cmd.Process.Pid, syscall.SIGTERM) }
	j.cmd.WaitDelay = 5 * time.Second
	if err := j.cmd.Start(); err != nil {
		t.Fatalf("%s: %v", strings.Join(line, " "), err)
	}
	return j
}

// Signal sends a signal to the launcher.
func (j *Job) Signal(s syscall.Signal) error { return j.cmd.Process.Signal(s) }

// Wait waits for the end and returns the same as Launch.
func (j *Job) Wait() (string, error) {
	defer j.cancel()
	err := j.cmd.Wait()
	_ = syscall.Kill(-j.cmd.Process.Pid, syscall.SIGKILL) // no such group: nothing is left
	if errors.Is(j.limit.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("killed after %v: %w", Timeout, j.limit.Err())
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", strings.Join(j.cmd.Args, " "), err)
	}
	return j.out.String(), err
}
