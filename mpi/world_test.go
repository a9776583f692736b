package mpi

import (
	"strings"
	"testing"
	"unsafe"
)

// long is a slice of n bytes that must not be accessed.
func long(n int) []byte {
	var x byte
	return unsafe.Slice(&x, n)
}

func TestWrongLengthsAreErrors(t *testing.T) {
	buf := make([]byte, 8)
	for _, c := range []struct {
		name     string
		op       func(w *World, dst, src []byte) error
		dst, src []byte
		size     int
		want     string // in the error; "" for none
	}{
		{"allgather short", (*World).Allgather, make([]byte, 7), make([]byte, 4), 2, "dst has 7 bytes, src 4: 2 ranks × 4 need 8"},
		{"allgather long", (*World).Allgather, make([]byte, 9), make([]byte, 4), 2, "dst has 9 bytes, src 4"},
		{"allgather nothing to gather", (*World).Allgather, make([]byte, 1), nil, 2, "dst has 1 bytes, src 0"},
		{"allgather count", (*World).Allgather, long(1 << 31), long(1 << 31), 1, "more than MPI counts"},
		{"allgather overlap", (*World).Allgather, buf, buf[4:], 2, "overlap"},
		{"allgather empty", (*World).Allgather, nil, nil, 2, ""},
		{"alltoall short", (*World).Alltoall, make([]byte, 4), make([]byte, 6), 2, "dst has 4 bytes, src 6"},
		{"alltoall uneven", (*World).Alltoall, make([]byte, 5), make([]byte, 5), 2, "5 bytes do not divide into 2"},
		{"alltoall count", (*World).Alltoall, long(1 << 32), long(1 << 32), 2, "more than MPI counts"},
		{"alltoall overlap", (*World).Alltoall, buf[:4], buf[2:6], 2, "overlap"},
		{"alltoall empty", (*World).Alltoall, nil, nil, 2, ""},
		{"alltoall of rows, short", (*World).AlltoallShared, make([]byte, 2), make([]byte, 4), 2, "recv has 2 bytes, send 4"},
		{"alltoall of rows, none", (*World).AlltoallShared, nil, make([]byte, 4), 2, "recv has 0 bytes, send 4"},
		{"alltoall of rows, uneven", (*World).AlltoallShared, make([]byte, 5), make([]byte, 5), 2, "5 bytes do not divide into 1 rows of 2"},
		{"alltoall of rows, count", (*World).AlltoallShared, long(1 << 32), long(1 << 32), 2, "more than MPI counts"},
		{"alltoall of rows, overlap", (*World).AlltoallShared, buf[:4], buf[2:6], 2, "overlap"},
		{"alltoall of rows, empty", (*World).AlltoallShared, nil, nil, 2, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &World{rank: 1, size: c.size, nodeSize: 1, nodes: c.size}
			err := c.op(w, c.dst, c.src)
			if c.want == "" && err == nil {
				return
			}
			if err == nil || c.want == "" || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "mpi: rank 1/") {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestOverlapIsDetected(t *testing.T) {
	x := make([]byte, 10)
	for _, c := range []struct {
		a, b []byte
		want bool
	}{
		{x[:5], x[5:], false},
		{x[5:], x[:5], false},
		{x[:6], x[5:], true},
		{x, x[3:4], true},
		{x[3:4], x, true},
		{x[:0], x, false},
		{nil, nil, false},
	} {
		if got := overlap(c.a, c.b); got != c.want {
			t.Errorf("lengths %d and %d: %v, want %v", len(c.a), len(c.b), got, c.want)
		}
	}
}

func TestLauncherOfAnotherLibraryIsAnError(t *testing.T) {
	for _, c := range []struct {
		variable, value string
		size            int
		library         string
		want            []string // in the error; none for no error
	}{
		{"PMI_SIZE", "4", 4, "MPICH 4.0.2", nil},
		{"PMI_SIZE", "1", 1, "MPICH 4.0.2", nil},
		{"SLURM_NTASKS", "", 1, "MPICH 4.0.2", nil},
		{"OMPI_COMM_WORLD_SIZE", "4", 1, "MPICH 4.0.2", []string{"started 4 ranks", "MPICH 4.0.2", "sees only 1", "mpirun.mpich", "make MPI=openmpi build"}},
		{"PMI_SIZE", "3", 1, "Open MPI 4.1.4", []string{"started 3 ranks", "mpirun.openmpi", "make MPI=mpich build"}},
		{"SLURM_NTASKS", "2", 1, "MPICH 4.0.2", []string{"SLURM_NTASKS=2", "srun --mpi=pmi2", "unset SLURM_NTASKS"}},
		{"SLURM_NTASKS", "2", 1, "none", []string{"without MPI"}},
	} {
		t.Run(c.variable+"="+c.value, func(t *testing.T) {
			for _, name := range launcherVariables {
				t.Setenv(name, "")
			}
			t.Setenv(c.variable, c.value)
			err := checkLauncher(c.size, c.library)
			if (err == nil) != (c.want == nil) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			for _, s := range c.want {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%v: no %q in it", err, s)
				}
			}
		})
	}
}

// Fails if a launcher's variable for the ranks of this machine is misread.
func TestLauncherLocalSizeReadsEveryLauncher(t *testing.T) {
	names := []string{"MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE", "SLURM_STEP_TASKS_PER_NODE"}
	for _, c := range []struct {
		name, value string
		want        int
	}{{"MPI_LOCALNRANKS", "8", 8}, {"OMPI_COMM_WORLD_LOCAL_SIZE", "3", 3}, {"SLURM_STEP_TASKS_PER_NODE", "4(x2)", 4}, {"SLURM_STEP_TASKS_PER_NODE", "2,1", 2}, {"MPI_LOCALNRANKS", "", 1}} {
		for _, name := range names {
			t.Setenv(name, "")
		}
		t.Setenv(c.name, c.value)
		if got := LauncherLocalSize(); got != c.want {
			t.Errorf("%s=%s: %d ranks, want %d", c.name, c.value, got, c.want)
		}
	}
}

// One process without a launcher is a world of one rank, with either MPI and without cgo.
func TestOneProcessIsAWorldOfOneRank(t *testing.T) {
	for _, name := range launcherVariables {
		t.Setenv(name, "")
	}
	w, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	if w.Rank() != 0 || w.Size() != 1 || w.NodeRank() != 0 || w.NodeSize() != 1 || w.MachineSize() != 1 || w.MachineCores() < 1 || w.Host() == "" {
		t.Errorf("rank %d/%d, on its node %d/%d, %d cores, host %q", w.Rank(), w.Size(), w.NodeRank(), w.NodeSize(), w.MachineCores(), w.Host())
	}
	dst, src := make([]byte, 3), []byte{1, 2, 3}
	for name, do := range map[string]func() error{
		"Allgather": func() error { return w.Allgather(dst, src) },
		"Alltoall":  func() error { return w.Alltoall(dst, src) },
	} {
		clear(dst)
		if err := do(); err != nil || dst[0] != 1 || dst[2] != 3 {
			t.Errorf("%s: %v, %v", name, dst, err)
		}
	}
	if err := w.Barrier(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := w.Stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
	}
	for name, err := range map[string]error{"Barrier": w.Barrier(), "Allgather": w.Allgather(dst, src)} {
		if err != errStopped {
			t.Errorf("%s after Stop: %v, want %v", name, err, errStopped)
		}
	}
}
