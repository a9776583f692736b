//go:build mpirun

package mpi_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"lte/mpi"
	"lte/mpi/mpitest"
)

func TestMain(m *testing.M) { mpitest.Main(m) }

var sizes = []int{1, 2, 3, 4, 8}

// lengths of one rank's part; the last is past every library's switch from eager messages.
var lengths = []int{0, 1, 2, 7, 1000, 300_001}

// number is different for every rank, block and place, and exact in a float32.
func number(rank, block, i int) uint64 { return uint64(rank*1000+block*100+i%100) + 1 }

func fill[T float32 | uint64](n int, at func(i int) uint64) []T {
	x := make([]T, n)
	for i := range x {
		x[i] = T(at(i))
	}
	return x
}

func check[T float32 | uint64](t *testing.T, what string, got []T, at func(i int) uint64) {
	t.Helper()
	for i, g := range got {
		if w := T(at(i)); g != w {
			t.Fatalf("%s: element %d is %v, want %v", what, i, g, w)
		}
	}
}

// Every collective, over every size and length: the values, and the bytes counted as sent.
func TestCollectives(t *testing.T) {
	mpitest.Run(t, sizes, func(t *testing.T, w *mpi.World) {
		p, me := w.Size(), w.Rank()
		ops := []struct {
			name  string
			sends func(n int) int // bytes for the others, parts of n elements
			run   func(t *testing.T, what string, n int) error
		}{
			{"Barrier", func(int) int { return 0 }, func(*testing.T, string, int) error { return w.Barrier() }},
			{"Allgather", func(n int) int { return 4 * n * (p - 1) }, func(t *testing.T, what string, n int) error {
				dst, src := make([]float32, p*n), fill[float32](n, func(i int) uint64 { return number(me, 0, i) })
				err := w.Allgather(dst, src)
				check(t, what, dst, func(i int) uint64 { return number(i/n, 0, i%n) })
				check(t, what+", src", src, func(i int) uint64 { return number(me, 0, i) })
				return err
			}},
			{"AllgatherUint64", func(n int) int { return 8 * n * (p - 1) }, func(t *testing.T, what string, n int) error {
				const high = 1 << 60 // more than a float64 could carry
				dst, src := make([]uint64, p*n), fill[uint64](n, func(i int) uint64 { return high + number(me, 0, i) })
				err := w.AllgatherUint64(dst, src)
				check(t, what, dst, func(i int) uint64 { return high + number(i/n, 0, i%n) })
				return err
			}},
			{"Alltoall", func(n int) int { return 4 * n * (p - 1) }, func(t *testing.T, what string, n int) error {
				dst, src := make([]float32, p*n), fill[float32](p*n, func(i int) uint64 { return number(me, i/n, i%n) })
				err := w.Alltoall(dst, src)
				check(t, what, dst, func(i int) uint64 { return number(i/n, me, i%n) })
				return err
			}},
		}
		for _, op := range ops {
			for _, n := range lengths {
				what := fmt.Sprintf("%s of %d", op.name, n)
				before := w.Sent()
				if err := op.run(t, what, n); err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if got := w.Sent() - before; got != int64(op.sends(n)) {
					t.Fatalf("%s: %d bytes sent, want %d", what, got, op.sends(n))
				}
			}
		}
	})
}

// What a world says of itself, told to all ranks: 0 … size-1, each once, on the node too.
func TestIdentity(t *testing.T) {
	mpitest.Run(t, sizes, func(t *testing.T, w *mpi.World) {
		ranks, nodeRanks := make([]uint64, w.Size()), make([]uint64, w.Size())
		if err := errors.Join(
			w.AllgatherUint64(ranks, []uint64{uint64(w.Rank())}),
			w.AllgatherUint64(nodeRanks, []uint64{uint64(w.NodeRank())}),
		); err != nil {
			t.Fatal(err)
		}
		seen := map[uint64]bool{}
		for i := range ranks {
			if ranks[i] != uint64(i) {
				t.Errorf("rank %d says %d", i, ranks[i])
			}
			seen[nodeRanks[i]] = true
		}
		if w.NodeSize() != w.Size() || len(seen) != w.Size() { // the test's ranks are on one node
			t.Errorf("%d ranks on the node of %d, node ranks %v", w.NodeSize(), w.Size(), nodeRanks)
		}
		if w.NodeCores() < 1 || w.Host() == "" || mpi.Library() == "none" {
			t.Errorf("%d cores, host %q, library %q", w.NodeCores(), w.Host(), mpi.Library())
		}
	})
}

// A wrong length is found before MPI sees it, and the world goes on.
func TestMisuse(t *testing.T) {
	mpitest.Run(t, []int{3}, func(t *testing.T, w *mpi.World) {
		for name, err := range map[string]error{
			"dst has 5 elements, src 2": w.Allgather(make([]float32, 5), make([]float32, 2)),
			"dst has 2 elements, src 1": w.AllgatherUint64(make([]uint64, 2), make([]uint64, 1)),
			"4 elements do not divide":  w.Alltoall(make([]float32, 4), make([]float32, 4)),
		} {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("got %v, want %q", err, name)
			}
		}
		if w.Sent() != 0 {
			t.Errorf("%d bytes sent by refused calls", w.Sent())
		}
		if err := w.Barrier(); err != nil {
			t.Error(err)
		}
	})
}

// The MPI thread serves any number of goroutines. All make the same call: which of them meet is left open.
func TestGoroutines(t *testing.T) {
	mpitest.Run(t, []int{1, 2, 8}, func(t *testing.T, w *mpi.World) {
		const goroutines, rounds, n = 16, 10, 500
		var wait sync.WaitGroup
		for range goroutines {
			wait.Go(func() {
				src := fill[float32](n, func(i int) uint64 { return number(w.Rank(), 0, i) })
				for range rounds {
					dst := make([]float32, n*w.Size())
					if err := w.Allgather(dst, src); err != nil {
						t.Error(err)
						return
					}
					for i, got := range dst {
						if want := float32(number(i/n, 0, i%n)); got != want {
							t.Errorf("element %d is %v, want %v", i, got, want)
							return
						}
					}
				}
			})
		}
		wait.Wait()
		if want := int64(goroutines * rounds * 4 * n * (w.Size() - 1)); w.Sent() != want {
			t.Errorf("%d bytes sent, want %d", w.Sent(), want)
		}
	})
}

// MPICH's own SIGUSR1 handler ends a Go process; Start has put Go's back.
func TestSignal(t *testing.T) {
	mpitest.Run(t, []int{1, 2}, func(t *testing.T, w *mpi.World) {
		got := make(chan os.Signal, 1)
		signal.Notify(got, syscall.SIGUSR1)
		for range 20 {
			if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			select {
			case <-got:
			case <-time.After(5 * time.Second):
				t.Fatal("SIGUSR1 did not arrive")
			}
		}
	})
}

// doom names what TestDoomed does in its ranks; the tests below launch it and look at how the job ends.
const doom = "LTE_MPI_DOOM"

func TestDoomed(t *testing.T) {
	what := os.Getenv(doom)
	if what == "" {
		t.Skip("only launched by other tests")
	}
	mpitest.Run(t, nil, func(t *testing.T, w *mpi.World) {
		last := w.Rank() == w.Size()-1
		switch {
		case last && what == "panic":
			panic("doomed on purpose")
		case last && what == "fatal":
			t.Fatal("doomed on purpose")
		case last && what == "abort":
			time.Sleep(200 * time.Millisecond) // the others wait by now
			fmt.Println("doomed on purpose")
			w.Abort(17)
		case last && what == "abort in wait":
			time.AfterFunc(200*time.Millisecond, func() {
				fmt.Println("doomed on purpose")
				w.Abort(17)
			})
			_ = w.Allgather(make([]float32, 5*w.Size()), make([]float32, 5))
		case what == "abort in wait":
			time.Sleep(time.Hour) // not in MPI at all
		}
		_ = w.Barrier()
		fmt.Println("went on")
		_ = w.Barrier()
	})
}

// One rank's end is every rank's end, soon, with its message and a code that is not 0.
func TestAbort(t *testing.T) {
	for _, c := range []struct {
		what string
		code int
		want string // beside the message
	}{
		{"panic", 1, "rank 2/3"},
		{"fatal", 1, "rank 2/3"},
		{"abort", 17, ""},
		{"abort in wait", 17, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			begin := time.Now()
			out, err := mpitest.Launch(t, 3, []string{doom + "=" + c.what, "LTE_MPITEST_CHILD=1"},
				os.Args[0], "-test.run", "^TestDoomed$", "-test.v")
			took := time.Since(begin)
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != c.code {
				t.Errorf("the job ended with %v, want exit status %d", err, c.code)
			}
			if !strings.Contains(out, "doomed on purpose") || !strings.Contains(out, c.want) {
				t.Errorf("no message, or not %q", c.want)
			}
			if strings.Contains(out, "went on") {
				t.Error("a rank went on")
			}
			if took > 4*time.Second { // less than the 5 s after which Abort ends the process by itself
				t.Errorf("it took %v", took)
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// A waiting rank leaves its core to the others: the wait costs a small part of its time.
func TestWaitSleeps(t *testing.T) {
	mpitest.Run(t, []int{8}, func(t *testing.T, w *mpi.World) {
		if w.NodeCores() >= w.NodeSize() {
			t.Skip("a core for every rank: they spin")
		}
		if err := w.Barrier(); err != nil {
			t.Fatal(err)
		}
		const wait = time.Second
		before := processTime(t)
		if w.Rank() == 0 {
			time.Sleep(wait)
		}
		if err := w.Allgather(make([]float32, 8), make([]float32, 1)); err != nil {
			t.Fatal(err)
		}
		if used := processTime(t) - before; used > wait/4 {
			t.Errorf("%v of CPU in a wait of %v", used, wait)
		}
	})
}

func processTime(t *testing.T) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
