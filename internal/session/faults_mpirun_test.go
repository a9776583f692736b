//go:build mpirun

package session_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"lte/checkpoint"
	"lte/internal/ltetest"
	"lte/internal/session"
)

// points are those of writing a checkpoint at which a rank may end, and whether rank 0 alone reaches them.
var points = []struct {
	name  string
	first bool
}{
	{"part created", false}, {"part written", false}, {"part synced", false}, {"part renamed", false}, {"parts agreed", true},
	{"manifest created", true}, {"manifest written", true}, {"manifest synced", true}, {"manifest renamed", true},
	{"latest made", true}, {"latest moved", true}, {"old manifest removed", true}, {"old ones removed", true},
}

// faulty is the settings of ltetest.Lively for a longer run with more checkpoints, and more arguments.
func faulty(more ...string) []string {
	return append(ltetest.Lively("--quiet", "--set", "train.steps=1500", "--set", "checkpoint.merges=8", "--set", "checkpoint.best=false"), more...)
}

// Whatever befalls a run, the checkpoints that it has stay valid, and it resumes from them to the weights and records of a run that was never
// disturbed.
func TestRunsSurviveFaults(t *testing.T) {
	t.Parallel()
	undisturbed := filepath.Join(t.TempDir(), "undisturbed")
	ltetest.Train(t, 2, undisturbed, faulty("--set", "checkpoint.keep=9")...)
	for name, test := range map[string]func(t *testing.T, undisturbed string){
		"ranks that are killed": rankIsKilled,
		"a full disk":           diskIsFull,
		"damaged checkpoints":   newestAreDamaged,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, undisturbed)
		})
	}
}

// One run is killed again and again and resumed each time: one rank by SIGKILL, at every point of writing a checkpoint in turn, and
// every fourth time after a random time. In the end the weights and all records are those of the undisturbed run.
// LTE_FAULTS is how often, 16 if unset; the seed is printed.
//
// Fails if a kill leaves no complete checkpoint, or a launcher that waits for ever.
func rankIsKilled(t *testing.T, undisturbed string) {
	faults := 16
	if n, err := strconv.Atoi(os.Getenv("LTE_FAULTS")); err == nil {
		faults = n
	}
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	made, anew, lost, runs := 0, 0, 0, 1
	had := false // a checkpoint, of this run
	at := filepath.Join(dir, "run 1")
	finish := func() {
		if out, code := ltetest.Run(t, 2, faulty("--run-dir", at, "--resume", "auto")...); code != 0 {
			t.Fatalf("seed %d: exit code %d\n%s", seed, code, out)
		}
		ltetest.Same(t, fmt.Sprintf("seed %d", seed), at, undisturbed)
	}
	for fault := 0; made < faults; fault++ {
		point := points[(fault-fault/4)%len(points)]
		rank := rng.IntN(2)
		var env []string
		if byTime := fault%4 == 3; !byTime {
			if point.first {
				rank = 0
			}
			env = ltetest.KillAt(rank, 1+rng.IntN(3), point.name)
			point.name = "at " + point.name
		} else {
			point.name = "after a while"
		}
		b := ltetest.Start(t, 2, env, faulty("--run-dir", at, "--resume", "auto")...)
		if point.name == "after a while" {
			pid := b.PID(t, rank)
			time.Sleep(time.Duration(rng.IntN(1000)) * time.Millisecond)
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have come to its end
		}
		out, code := b.End(t)
		if code == 0 && summaryThere(at) { // it came to its end before
			ltetest.Same(t, fmt.Sprintf("seed %d", seed), at, undisturbed)
			runs++
			had = false
			at = filepath.Join(dir, fmt.Sprintf("run %d", runs))
			continue
		}
		if code == 0 {
			t.Fatalf("seed %d: %s, rank %d: exit code 0 and no summary\n%s", seed, point.name, rank, out)
		}
		made++
		all, err := checkpoint.Verify(at)
		kept := 0
		for _, v := range all {
			if v.Valid() {
				kept = v.Manifest.Step
				break
			}
		}
		switch {
		case kept > 0:
			had = true
		case had:
			t.Fatalf("seed %d: %s, rank %d: no complete checkpoint is left (%v)\n%s", seed, point.name, rank, err, out)
		default:
			anew++ // before the first checkpoint
		}
		if r := ltetest.Records(at); len(r) > 0 {
			lost += max(0, r[len(r)-1].Step-kept)
		}
	}
	finish()
	t.Logf("seed %d: %d kills in %d runs, all survived; %d of them before the first checkpoint; %d recorded steps were done again", seed, made, runs, anew, lost)
}

func summaryThere(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "summary.json"))
	return err == nil
}

// mounted makes a file system of that size at path, or changes the one that is there; the test is skipped where that is not permitted.
func mounted(t *testing.T, path, options string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	fresh := !strings.HasPrefix(options, "remount")
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", options, "lte-test", path).CombinedOutput(); err != nil {
		if fresh {
			t.Skipf("no file system can be mounted here: %v %s", err, out)
		}
		t.Fatalf("%v %s", err, out)
	}
	if fresh {
		t.Cleanup(func() {
			if out, err := exec.Command("umount", path).CombinedOutput(); err != nil {
				t.Errorf("%v %s", err, out)
			}
		})
	}
}

// Where the disk is full or read-only, the run stops or continues, by checkpoint.on_error; earlier checkpoints stay valid, and the run
// resumes from them when there is space again.
//
// Fails if an error of a write is lost, if it takes an earlier checkpoint with it, or if a rank waits for one that has failed.
func diskIsFull(t *testing.T, undisturbed string) {
	dir := t.TempDir()
	for _, c := range []struct {
		onError string
		code    int
		want    string
	}{
		{"stop", session.ExitFailed, "lte: the checkpoint of step "},
		{"warn", 0, "lte: warning: the checkpoint of step "},
	} {
		at := filepath.Join(dir, c.onError)
		store := filepath.Join(at, "checkpoints")
		mounted(t, store, "size=128k") // one checkpoint, and half of another
		run := func(more ...string) (string, int) {
			return ltetest.Run(t, 2, faulty(append(more, "--run-dir", at, "--resume", "auto", "--set", "checkpoint.on_error="+c.onError)...)...)
		}
		check := func(fault, out string, code int) {
			t.Helper()
			if code != c.code || !strings.Contains(out, c.want) || !strings.Contains(out, fault) {
				t.Fatalf("%s, %s: exit code %d, want %d, %q and %q\n%s", c.onError, fault, code, c.code, c.want, fault, out)
			}
			all, err := checkpoint.Verify(at)
			if err != nil || !all[len(all)-1].Valid() {
				t.Fatalf("%s, %s: %v %+v", c.onError, fault, err, all)
			}
		}
		out, code := run()
		check("no space left on device", out, code)
		if c.onError == "warn" {
			ltetest.Same(t, "a full disk", at, undisturbed)
			continue
		}
		mounted(t, store, "remount,ro")
		out, code = run()
		check("read-only file system", out, code)
		mounted(t, store, "remount,rw,size=2m")
		if out, code := run(); code != 0 || !bytes.Contains([]byte(out), []byte("run directory")) {
			t.Fatalf("with room again: exit code %d\n%s", code, out)
		}
		ltetest.Same(t, "with room again", at, undisturbed)
	}
}

// A damaged checkpoint is reported with the file that is damaged, and the run resumes from the one before.
func newestAreDamaged(t *testing.T, undisturbed string) {
	at := filepath.Join(t.TempDir(), "run")
	if err := os.CopyFS(at, os.DirFS(undisturbed)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(at, "summary.json")); err != nil {
		t.Fatal(err)
	}
	all, err := checkpoint.Verify(at)
	if err != nil || len(all) != 9 {
		t.Fatalf("%v, %d checkpoints", err, len(all))
	}
	faults := []struct {
		file string
		do   func(path string) error
	}{
		{"rank-00001.safetensors", os.Remove},
		{"shared.safetensors", func(path string) error { return os.Truncate(path, 1000) }},
		{"manifest.json", flip},
		{"rank-00000.safetensors", flip},
	}
	for i, f := range faults {
		if err := f.do(filepath.Join(all[i].Path, f.file)); err != nil {
			t.Fatal(err)
		}
	}
	out, code := ltetest.Run(t, 2, "--resume", at)
	if code != 0 || !strings.Contains(out, fmt.Sprintf(" after step %d\n", all[len(faults)].Manifest.Step)) {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	for i, f := range faults {
		if want := fmt.Sprintf("lte: warning: %s: %s", all[i].Path, f.file); strings.Count(out, want) != 1 {
			t.Errorf("not once %q:\n%s", want, out)
		}
	}
	ltetest.Same(t, "from the one before", at, undisturbed)
}

// flip changes a bit in the middle of a file.
func flip(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 4
	return os.WriteFile(path, b, 0o644)
}

// A rank that is stopped ends the job within run.watchdog and a few seconds: not silently.
//
// Fails, by time, without the watchdog; and if another rank is named, or none.
func TestStoppedRank(t *testing.T) {
	t.Parallel()
	at := filepath.Join(t.TempDir(), "run")
	b := ltetest.Start(t, 3, nil, faulty("--run-dir", at, "--set", "run.watchdog=2", "--set", "train.steps=1000000")...)
	ltetest.Within(t, "ten records", func() bool { return len(ltetest.Records(at)) >= 10 })
	began := time.Now()
	if err := syscall.Kill(b.PID(t, 1), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	out, code := b.End(t)
	if want := "rank 1 on "; code == 0 || !strings.Contains(out, want) || !strings.Contains(out, " has stopped: no heartbeat; it was last ") || strings.Contains(out, "rank 2 on ") {
		t.Errorf("exit code %d, %q expected\n%s", code, want, out)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("ended after %v", took)
	}
}
