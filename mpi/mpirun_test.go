//go:build mpirun

package mpi_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lte/mpi"
	"lte/mpi/mpitest"
)

func TestMain(m *testing.M) { mpitest.Main(m) }

var sizes = []int{1, 2, 3, 4, 8}

// lengths of one rank's part, in bytes; the last is past every library's switch from eager messages.
var lengths = []int{0, 1, 2, 7, 1000, 300_001}

// mark is a byte that tells ranks, blocks and neighbouring places apart.
func mark(rank, block, i int) byte { return byte(rank*89 + block*31 + i%period + 1) }

const period = 29

// marked is a block of n marks.
func marked(rank, block, n int) []byte {
	x := make([]byte, n)
	for i := range min(n, period) {
		x[i] = mark(rank, block, i)
	}
	for filled := period; filled < n; filled *= 2 {
		copy(x[filled:], x[:filled])
	}
	return x
}

// blocks is the blocks of all ranks, one after another.
func blocks(ranks int, block func(k int) []byte) (all []byte) {
	for k := range ranks {
		all = append(all, block(k)...)
	}
	return all
}

func check(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d bytes, want %d", what, len(got), len(want))
	}
	for i, g := range got {
		if g != want[i] {
			t.Fatalf("%s: byte %d is %v, want %v", what, i, g, want[i])
		}
	}
}

// The laws of a world, on every number of ranks.
func TestWorld(t *testing.T) {
	mpitest.Run(t, sizes, func(t *testing.T, w *mpi.World) {
		for _, law := range []struct {
			name string
			test func(*testing.T, *mpi.World)
		}{
			{"every rank knows itself and the others", identity},
			{"threads take turns where ranks outnumber cores", turns},
			{"a wrong length is an error before MPI sees it", misuse},
			{"the ranks of a node share its memory", nodeMemory},
			{"every collective moves every length", collectives},
			{"any goroutine may call it", goroutines},
			{"a rank that waits sleeps where ranks outnumber cores", waitSleeps},
		} {
			t.Run(law.name, func(t *testing.T) { law.test(t, w) })
			if t.Failed() { // the others may be waiting
				return
			}
		}
	})
}

func collectives(t *testing.T, w *mpi.World) {
	p, me := w.Size(), w.Rank()
	for _, n := range lengths {
		if err := w.Barrier(); err != nil {
			t.Fatal(err)
		}
		what := fmt.Sprintf("Allgather of %d", n)
		dst, src := make([]byte, p*n), marked(me, 0, n)
		if err := w.Allgather(dst, src); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		check(t, what, dst, blocks(p, func(k int) []byte { return marked(k, 0, n) }))
		check(t, what+", src", src, marked(me, 0, n))

		what = fmt.Sprintf("Alltoall of %d", n)
		src = blocks(p, func(k int) []byte { return marked(me, k, n) })
		if err := w.Alltoall(dst, src); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		check(t, what, dst, blocks(p, func(k int) []byte { return marked(k, me, n) }))

		what = fmt.Sprintf("AllgatherShared of %d", n)
		shared, err := w.NodeMemory(p * n)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		src = marked(me, 1, n)
		for range 2 { // the second time into what others may still read
			if err := w.AllgatherShared(shared, src); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			check(t, what, shared, blocks(p, func(k int) []byte { return marked(k, 1, n) }))
		}

		what = fmt.Sprintf("AlltoallShared of %d", n)
		send, err := w.NodeMemory(w.NodeSize() * p * n)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		recv, err := w.NodeMemory(len(send))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		first, q := me-w.NodeRank(), w.NodeSize()
		for round := range 2 { // the second time over what others may still read
			copy(send[w.NodeRank()*p*n:], blocks(p, func(k int) []byte { return marked(me+round, k, n) }))
			if err := w.AlltoallShared(recv, send); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			for k := range p {
				from := recv[(k*q+w.NodeRank())*n:]
				if k >= first && k < first+q { // blocks from this node are not copied
					from = send[((k-first)*p+me)*n:]
				}
				copy(dst[k*n:(k+1)*n], from)
			}
			if err := w.NodeBarrier(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			check(t, what, dst, blocks(p, func(k int) []byte { return marked(k+round, me, n) }))
		}
	}
}

// Where ranks outnumber cores all threads of a rank take turns but that of MPI; elsewhere none does.
func turns(t *testing.T, w *mpi.World) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	policies := map[uint32]int{}
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			t.Fatal(err)
		}
		a, err := unix.SchedGetAttr(id, 0)
		if err != nil {
			t.Fatal(err)
		}
		policies[a.Policy]++
	}
	oversubscribed := w.MachineSize() > w.MachineCores()
	if oversubscribed && policies[unix.SCHED_NORMAL] != 1 || !oversubscribed && policies[unix.SCHED_BATCH] > 0 {
		t.Errorf("%d ranks, %d cores: threads by policy %v", w.MachineSize(), w.MachineCores(), policies)
	}
}

// Memory of a node: 0 at first, and what one rank writes the others read after a barrier. Fails if each rank has its own, if what
// cannot be had is not an error on all ranks, and if the file that it lies in outlives the call.
func nodeMemory(t *testing.T, w *mpi.World) {
	const n = 1 << 20
	x, err := w.NodeMemory(n)
	if err != nil {
		t.Fatal(err)
	}
	check(t, "new memory", x, make([]byte, n))
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(w.NodeBarrier())
	p := w.NodeSize()
	for i := w.NodeRank(); i < n; i += p {
		x[i] = mark(w.NodeRank(), 0, i)
	}
	must(w.NodeBarrier())
	want := make([]byte, n)
	for i := range want {
		want[i] = mark(i%p, 0, i)
	}
	check(t, "memory of the node", x, want)
	if w.Size() > 1 {
		if _, err := w.NodeMemory(1 << 60); err == nil {
			t.Error("an exabyte is there")
		}
	}
	files, err := os.ReadDir("/proc/self/fd")
	must(err)
	for _, f := range files {
		if to, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil && strings.Contains(to, "memfd:lte") {
			t.Errorf("%s is open still", to)
		}
	}
}

// What a world says of itself, told to all ranks: 0 … size-1, each once, on the node too.
func identity(t *testing.T, w *mpi.World) {
	ranks, nodeRanks := make([]byte, w.Size()), make([]byte, w.Size())
	if err := errors.Join(
		w.Allgather(ranks, []byte{byte(w.Rank())}),
		w.Allgather(nodeRanks, []byte{byte(w.NodeRank())}),
	); err != nil {
		t.Fatal(err)
	}
	seen := map[byte]bool{}
	for i := range ranks {
		if ranks[i] != byte(i) {
			t.Errorf("rank %d says %d", i, ranks[i])
		}
		seen[nodeRanks[i]] = true
	}
	if w.NodeSize() != w.Size() || len(seen) != w.Size() { // the test's ranks are on one node
		t.Errorf("%d ranks on the node of %d, node ranks %v", w.NodeSize(), w.Size(), nodeRanks)
	}
	if w.MachineSize() != w.Size() || w.MachineCores() < 1 || w.Host() == "" || mpi.Library() == "none" {
		t.Errorf("%d ranks, %d cores, host %q, library %q", w.MachineSize(), w.MachineCores(), w.Host(), mpi.Library())
	}
}

// A wrong length is found before MPI sees it, and the world continues.
func misuse(t *testing.T, w *mpi.World) {
	if w.Size() != 3 {
		t.Skip("the lengths are wrong for 3 ranks")
	}
	for name, err := range map[string]error{
		"dst has 5 bytes, src 2": w.Allgather(make([]byte, 5), make([]byte, 2)),
		"4 bytes do not divide":  w.Alltoall(make([]byte, 4), make([]byte, 4)),
	} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
	}
	if err := w.Barrier(); err != nil {
		t.Error(err)
	}
}

// The MPI thread serves any number of goroutines. All make the same call: which of them meet is left open.
func goroutines(t *testing.T, w *mpi.World) {
	const goroutines, rounds, n = 16, 10, 500
	want := blocks(w.Size(), func(k int) []byte { return marked(k, 0, n) })
	var wait sync.WaitGroup
	for range goroutines {
		wait.Go(func() {
			src := marked(w.Rank(), 0, n)
			for range rounds {
				dst := make([]byte, n*w.Size())
				if err := w.Allgather(dst, src); err != nil {
					t.Error(err)
					return
				}
				if !bytes.Equal(dst, want) {
					t.Error("wrong bytes")
					return
				}
			}
		})
	}
	wait.Wait()
}

// A waiting rank leaves its core to the others: the wait costs a small part of its time.
func waitSleeps(t *testing.T, w *mpi.World) {
	if w.Size() != 8 || w.MachineCores() >= w.MachineSize() {
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
	if err := w.Allgather(make([]byte, 8), make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if used := processTime(t) - before; used > wait/4 {
		t.Errorf("%v of CPU in a wait of %v", used, wait)
	}
}

func processTime(t *testing.T) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		t.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}

// MPICH's own SIGUSR1 handler ends a Go process; Start restores Go's.
func TestGoKeepsItsSignalHandlers(t *testing.T) {
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

// doom names what TestDoomed does on its ranks; the tests below launch it and check how the job ends.
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
			_ = w.Allgather(make([]byte, 5*w.Size()), make([]byte, 5))
		case what == "abort in wait":
			time.Sleep(time.Hour) // not in MPI at all
		}
		_ = w.Barrier()
		fmt.Println("continued")
		_ = w.Barrier()
	})
}

// When one rank ends, all ranks end soon, with its message and a non-zero exit code.
func TestFailureOfOneRankEndsAll(t *testing.T) {
	for _, c := range []struct {
		what string
		code int
		want string // besides the message
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
			if strings.Contains(out, "continued") {
				t.Error("a rank continued")
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

// Hosts of one kernel are one machine: their ranks share its cores, though no memory. Fails if ranks of another host are not
// counted, and, as hosts have one rank each, two, or three and two, if the first ranks exchange anything but their host's blocks.
func TestMachineOnHosts(t *testing.T) {
	mpitest.OnHosts(t, 3)
	mpitest.Run(t, []int{3, 6, 8}, func(t *testing.T, w *mpi.World) {
		if w.MachineSize() != w.Size() || w.NodeSize() >= w.Size() {
			t.Errorf("%d ranks on the machine and %d on the host, of %d", w.MachineSize(), w.NodeSize(), w.Size())
		}
		collectives(t, w)
	})
}

// Some machines may be oversubscribed and others not: here, with two cores, 3, 3 and 2 ranks. Fails if ranks with a core each omit the
// barrier of those that sleep: their collectives then match other ones, receive wrong bytes, or wait forever.
func TestOversubscribedAndOtherHostsExchange(t *testing.T) {
	mpitest.OnHosts(t, 3)
	t.Setenv("LTE_BOOT", "own")
	mpitest.Run(t, []int{8}, func(t *testing.T, w *mpi.World) {
		if w.MachineSize() != w.NodeSize() {
			t.Errorf("%d ranks on the machine and %d on the host", w.MachineSize(), w.NodeSize())
		}
		collectives(t, w)
	})
}

// Ranks on several hosts end at once, which MPICH over TCP does not always do. Fails, two times in three, if a rank enters MPI_Finalize
// while another still answers from the barrier before it; Stop then gives up after 5 s.
func TestRanksOnSeveralHostsEndAtOnce(t *testing.T) {
	mpitest.OnHosts(t, 2)
	for range 4 {
		begin := time.Now()
		mpitest.Run(t, []int{4}, func(t *testing.T, w *mpi.World) {
			if w.NodeSize() != 2 {
				t.Errorf("%d ranks on a host, want 2", w.NodeSize())
			}
		})
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	}
}
