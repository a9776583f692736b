//go:build mpirun

package session_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"lte/internal/ltetest"
	"lte/mpi/mpitest"
)

// onOneCore makes later launches of the test share a core.
func onOneCore(t *testing.T) {
	t.Helper()
	mpirun := os.Getenv("LTE_MPIRUN")
	if mpirun == "" {
		mpirun = "mpirun"
	}
	t.Setenv("LTE_MPIRUN", "taskset -c 0 "+mpirun)
}

// A rank that comes late makes the others wait inside MPI_Init: the first one says what is going on, once in these seconds.
func TestSlowStartIsTold(t *testing.T) {
	onOneCore(t)
	late := filepath.Join(t.TempDir(), "late")
	const script = "#!/bin/sh\n[ \"$PMI_RANK$OMPI_COMM_WORLD_RANK\" != 1 ] || sleep 4\nexec \"$@\"\n"
	if err := os.WriteFile(late, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	args := append([]string{late, os.Args[0]}, ltetest.Quick("--quiet", "--run-dir", filepath.Join(t.TempDir(), "run"))...)
	out, err := mpitest.Launch(t, 3, []string{ltetest.AsProgram}, args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := len(regexp.MustCompile(`lte: starting 3 ranks on 1 core of .*, \ds so far\n`).FindAllString(out, -1)); n != 1 {
		t.Errorf("told %d times:\n%s", n, out)
	}
}

// More than 8 ranks a core are warned of in one line, and train.
func TestManyRanksOnACore(t *testing.T) {
	onOneCore(t)
	dir := filepath.Join(t.TempDir(), "run")
	out, code := ltetest.Run(t, 9, ltetest.Quick("--quiet", "--run-dir", dir)...)
	want := regexp.MustCompile(`lte: warning: ranks on a machine: 9; cores that they may use: 1; .*\(lora.heads = 9\)\n`)
	if code != 0 || strings.Count(out, "lte: warning: ") != 1 || !want.MatchString(out) {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if s := ltetest.Summary(t, dir); s.Ranks != 9 {
		t.Errorf("%+v", s)
	}
}
