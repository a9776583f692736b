//go:build mpirun

package session_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lte/internal/ltetest"
	"lte/internal/session"
	"lte/mpi"
)

// A run is interrupted again and again: by a signal to the launcher or to one rank, and by the time limit. Each time all ranks write a
// checkpoint and exit with 75, and the next start in the directory resumes from it. In the end it has the weights and records of a run that was
// never interrupted.
//
// Fails if one rank alone stops, if the exit code is another, or if a record is lost or repeated.
func TestInterruptedOnRanks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at, whole := filepath.Join(dir, "run"), filepath.Join(dir, "whole")
	args := func(steps int, more ...string) []string {
		return append(ltetest.Lively("--set", "schedule.kind=constant", "--set", fmt.Sprint("train.steps=", steps)), more...)
	}
	openMPI := strings.HasPrefix(mpi.Library(), "Open MPI")
	step := 0 // after which the run was last interrupted
	for _, c := range []struct {
		name string
		args []string
		send func(b ltetest.Job) error
		want string
	}{
		{"TERM to the launcher", nil, func(b ltetest.Job) error { return b.Signal(syscall.SIGTERM) }, "SIGTERM: stopped after step "},
		{"USR1 to the launcher", nil, func(b ltetest.Job) error { return b.Signal(syscall.SIGUSR1) }, "SIGUSR1: stopped after step "},
		{"USR2 to rank 1", nil, func(b ltetest.Job) error { return syscall.Kill(b.PID(t, 1), syscall.SIGUSR2) }, "SIGUSR2: stopped after step "},
		{"time limit", []string{"--time-limit", "25001ms"}, nil, "the time limit is near: stopped after step "},
	} {
		var env []string
		byTerm := c.name == "TERM to the launcher"
		if byTerm { // Open MPI's: so many seconds until ranks get TERM, and again until KILL; it exits with 1
			env = []string{"OMPI_MCA_odls_base_sigkill_timeout=2"}
		}
		before := len(ltetest.Records(at))
		b := ltetest.Start(t, 2, env, args(1_000_000, append(c.args, "--run-dir", at, "--resume", "auto")...)...)
		if c.send != nil {
			ltetest.Within(t, "ten records", func() bool { return len(ltetest.Records(at)) >= before+10 })
			if err := c.send(b); err != nil {
				t.Fatal(err)
			}
		}
		out, code := b.End(t)
		switch {
		case openMPI && byTerm && code == session.ExitFailed:
			code = session.ExitInterrupted
		case !openMPI && code == 0 && strings.HasSuffix(c.name, "to the launcher"):
			code = session.ExitInterrupted // hydra, signalled itself, sometimes exits with 0 whatever its ranks exit with
		}
		_, after, _ := strings.Cut(out, c.want)
		if _, err := fmt.Sscan(after, &step); err != nil || code != session.ExitInterrupted || strings.Count(out, c.want) != 1 || strings.Contains(out, "resumes ") != (before > 0) {
			t.Fatalf("%s: exit code %d, want %d, once %q, and \"resumes\" after the first start\n%s", c.name, code, session.ExitInterrupted, c.want, out)
		}
	}
	steps := step + 100
	if out, code := ltetest.Run(t, 2, "--resume", at, "--set", "run.time_limit=0", "--set", fmt.Sprint("train.steps=", steps)); code != 0 || !strings.Contains(out, "resumes ") {
		t.Fatalf("resumed: exit code %d\n%s", code, out)
	}
	ltetest.Train(t, 2, whole, args(steps)...)
	ltetest.Same(t, "interrupted four times", at, whole)
	if out, code := ltetest.Run(t, 2, "--resume", at, "--set", "run.time_limit=0"); code != 0 || strings.Count(out, "is finished") != 1 {
		t.Errorf("resumed again: exit code %d\n%s", code, out)
	}
}

// A run is resumed on fewer and on more ranks, to the bits of one that never stopped; then with more heads, and with fewer. Each change is
// printed once.
//
// Fails if a --config whose lora.heads is 0, one per rank, changes the number of heads.
func TestElasticOnRanks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at, whole, file := filepath.Join(dir, "run"), filepath.Join(dir, "whole"), filepath.Join(dir, "config.toml")
	args := ltetest.Quick("--set", "compute.threads=1", "--set", "merge.reset=b", "--set", "lora.alpha=64", "--set", "schedule.kind=constant", "--set", "merge.every=5")
	ltetest.Train(t, 2, whole, args...)
	text, err := os.ReadFile(filepath.Join(whole, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ranks, steps int
		args         []string
		want         string
	}{
		{2, 10, nil, ""},
		{1, 25, []string{"--config", file, "--set", "lora.heads=0"}, "lte: 1 ranks, not 2: "},
		{2, 40, nil, "lte: 2 ranks, not 1: "},
		{2, 50, []string{"--set", "lora.heads=6"}, "lte: heads 2 to 5 are added: "},
		{1, 60, []string{"--set", "lora.heads=3"}, "lte: heads 3 to 5 are retired: "},
	} {
		run := []string{"--resume", at}
		if c.want == "" {
			run = append(args, "--run-dir", at)
		}
		out, code := ltetest.Run(t, c.ranks, append(append(run, "--set", fmt.Sprint("train.steps=", c.steps)), c.args...)...)
		if code != 0 || c.want != "" && strings.Count(out, c.want) != 1 {
			t.Fatalf("%d ranks: exit code %d, and once %q expected\n%s", c.ranks, code, c.want, out)
		}
		if got, want := ltetest.Summary(t, at).WeightsDigest, ltetest.Summary(t, whole).WeightsDigest; c.steps == 40 && got != want {
			t.Errorf("digest %s, want %s", got, want)
		}
	}
}

// What cannot continue says why, once, and leaves the run as it was.
func TestResumeRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := filepath.Join(dir, "run")
	ltetest.Train(t, 2, at, ltetest.Quick("--set", "checkpoint.merges=2")...)
	longer := []string{"--resume", at, "--set", "train.steps=60"}
	for want, c := range map[string]struct {
		ranks int
		args  []string
	}{
		"other values of these keys: seed = 2, not 1; lora.rank = 8, not 4; leave them": {2, append(longer, "--seed", "2", "--set", "lora.rank=8", "--set", "optimizer.lr=1e-4")},
		"there is no run; expected":     {2, []string{"--resume", dir}},
		"which run? Name its directory": {2, []string{"--resume", "auto"}},
		"train.steps = 30 is less":      {2, []string{"--resume", at, "--set", "train.steps=30", "--set", "run.log_every=7"}},
	} {
		if out, code := ltetest.Run(t, c.ranks, c.args...); code != session.ExitUsage || strings.Count(out, want) != 1 {
			t.Errorf("exit code %d, want %d and once %q\n%s", code, session.ExitUsage, want, out)
		}
	}
	if s := ltetest.Summary(t, at); s.Steps != 40 {
		t.Errorf("%+v", s)
	}
}
