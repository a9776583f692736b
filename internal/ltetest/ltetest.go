// Package ltetest runs the real program in tests, with and without ranks: the test binary is lte where this package starts it.
//
//	func TestMain(m *testing.M) { ltetest.Main(m) }
package ltetest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lte/checkpoint"
	"lte/internal/cli"
	"lte/mpi/mpitest"
	"lte/record"
)

// What a process that a test starts is asked to do, in its environment.
const (
	AsProgram = "LTE_TEST_AS_PROGRAM=1" // be lte
	pidFolder = "LTE_TEST_PIDS"         // a folder in which every rank writes its process id, to a file of its number
	killAt    = "LTE_TEST_KILL"         // RANK:TIMES:POINT: that rank kills itself when it reaches a point of writing a checkpoint that often
)

// Main is the body of TestMain.
func Main(m *testing.M) {
	if name, value, _ := strings.Cut(AsProgram, "="); os.Getenv(name) == value {
		prepare()
		os.Exit(cli.Run("devel", os.Args[1:], os.Stdout, os.Stderr))
	}
	mpitest.Main(m)
}

// Quick is the arguments of a small run by the paper's recipe, a second on two cores, and more, which override them.
func Quick(more ...string) []string {
	return append(set("train.steps=40", "schedule.warmup=5", "model.depth=1", "model.width=16", "model.mlp=16", "lora.rank=4", "run.eval_every=0"), more...)
}

// Lively is the arguments of a run that takes a second or two, has state of many kinds and always an exchange in progress, and more, which
// override them.
func Lively(more ...string) []string {
	return append(set("train.steps=1200", "schedule.warmup=5", "model.depth=1", "model.width=16", "model.mlp=16", "run.eval_every=400", "run.log_every=10", "merge.every=7",
		"exchange.wire=int8", "exchange.overlap=true", "model.dropout=0.1", "data.mixup=0.8", "ema.decay=0.9", "lora.rank=4"), more...)
}

// set is the arguments that set keys of the paper's recipe.
func set(keys ...string) (args []string) {
	args = []string{"--recipe", "paper"}
	for _, key := range keys {
		args = append(args, "--set", key)
	}
	return args
}

// Command is lte without a launcher.
func Command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), AsProgram)
	return cmd
}

// Run runs lte on n ranks and returns what it printed and the launcher's exit code.
func Run(t *testing.T, n int, args ...string) (out string, code int) {
	t.Helper()
	return Start(t, n, nil, args...).End(t)
}

// Train is Run of a training run that must succeed. It returns what was printed.
func Train(t *testing.T, n int, dir string, args ...string) string {
	t.Helper()
	out, code := Run(t, n, append([]string{"train", "--run-dir", dir}, args...)...)
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	return out
}

// Job is lte on ranks.
type Job struct {
	*mpitest.Job
	pids string
}

// Start is Run that does not wait for the end. env is added to the environment.
func Start(t *testing.T, n int, env []string, args ...string) Job {
	t.Helper()
	pids := t.TempDir()
	env = append(slices.Clone(env), AsProgram, pidFolder+"="+pids)
	return Job{mpitest.Start(t, n, env, append([]string{os.Args[0]}, args...)...), pids}
}

// KillAt is an environment for Start: a rank kills itself when it reaches a point of writing a checkpoint for that time.
func KillAt(rank, times int, point string) []string {
	return []string{fmt.Sprintf("%s=%d:%d:%s", killAt, rank, times, point)}
}

// PID waits until a rank has started and returns its process id.
func (j Job) PID(t *testing.T, rank int) (pid int) {
	t.Helper()
	Within(t, "the process of a rank", func() bool {
		text, err := os.ReadFile(filepath.Join(j.pids, fmt.Sprint(rank)))
		if err != nil {
			return false
		}
		_, err = fmt.Sscan(string(text), &pid)
		return err == nil
	})
	return pid
}

// End waits for the launcher and returns what was printed and the exit code.
func (j Job) End(t *testing.T) (out string, code int) {
	t.Helper()
	out, err := j.Wait()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return out, exit.ExitCode()
	} else if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out, 0
}

// Within waits until something is so, at most 15 s.
func Within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("%s: not within 15 s", what)
}

// Summary reads summary.json of a run.
func Summary(t *testing.T, dir string) (s record.Summary) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "summary.json"))
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Records reads the lines of metrics.jsonl; the last one may not be complete yet.
func Records(dir string) (all []record.Record) {
	text, err := os.ReadFile(filepath.Join(dir, "metrics.jsonl"))
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(text) {
		var r record.Record
		if json.Unmarshal(line, &r) == nil {
			all = append(all, r)
		}
	}
	return all
}

// Same compares a run that was interrupted with one that was not: the weights, and every record but for times and the bytes that are sent
// about once a second.
func Same(t *testing.T, what, dir, uninterrupted string) {
	t.Helper()
	if got, want := Summary(t, dir), Summary(t, uninterrupted); got.WeightsDigest != want.WeightsDigest {
		t.Errorf("%s: digest %s, want %s", what, got.WeightsDigest, want.WeightsDigest)
	}
	text := func(dir string) (lines []string) {
		for _, r := range Records(dir) {
			lines = append(lines, fmt.Sprint(r.Step, r.Images, r.TrainLoss, r.LR, r.Merges, r.Traffic.Merge, r.Traffic.Evaluation, r.TestTop1 != nil))
		}
		return lines
	}
	if got, want := text(dir), text(uninterrupted); !slices.Equal(got, want) {
		t.Errorf("%s: records\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// prepare does on a rank what the environment asks for.
func prepare() {
	rank := "0"
	for _, name := range []string{"PMI_RANK", "OMPI_COMM_WORLD_RANK"} {
		if v, ok := os.LookupEnv(name); ok {
			rank = v
		}
	}
	if dir := os.Getenv(pidFolder); dir != "" {
		path := filepath.Join(dir, rank)
		if err := os.WriteFile(path+".tmp", fmt.Append(nil, os.Getpid()), 0o644); err == nil {
			_ = os.Rename(path+".tmp", path) // if it fails, the test waits for it in vain
		}
	}
	of, rest, _ := strings.Cut(os.Getenv(killAt), ":")
	if of != rank {
		return
	}
	var times int
	text, point, _ := strings.Cut(rest, ":")
	if _, err := fmt.Sscan(text, &times); err != nil {
		panic(err)
	}
	checkpoint.Reached = func(p string) {
		if p == point {
			if times--; times == 0 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
	}
}
