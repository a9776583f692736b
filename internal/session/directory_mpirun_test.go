//go:build mpirun

package session_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lte/internal/ltetest"
	"lte/internal/session"
)

// contents is every file below dir with a digest.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		all[path] = fmt.Sprintf("%x", sha256.Sum256(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Fails if a second start in the directory of a run, finished or interrupted, with checkpoints or without, changes a byte of it.
func TestSecondRunIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ args, remove []string }{
		"finished":                     {},
		"finished without checkpoints": {args: []string{"--set", "checkpoint.keep=0"}},
		"interrupted":                  {remove: []string{"summary.json", "model.safetensors"}},
		"only checkpoints":             {remove: []string{"config.toml", "metrics.jsonl", "summary.json", "model.safetensors"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			args := append(ltetest.Quick("--run-dir", dir), c.args...)
			if out, code := ltetest.Run(t, 2, args...); code != 0 {
				t.Fatalf("exit code %d\n%s", code, out)
			}
			for _, file := range c.remove {
				if err := os.Remove(filepath.Join(dir, file)); err != nil {
					t.Fatal(err)
				}
			}
			before := contents(t, dir)
			out, code := ltetest.Run(t, 2, args...)
			if code != session.ExitUsage || strings.Count(out, "holds a run already") != 1 || !strings.Contains(out, "--resume") {
				t.Errorf("exit code %d, want %d\n%s", code, session.ExitUsage, out)
			}
			if !maps.Equal(contents(t, dir), before) {
				t.Error("the second run changed the first")
			}
		})
	}
}

// Fails if --resume auto starts a run again over checkpoints that were completed and cannot be read, or over a finished run without any.
func TestResumeOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		args []string
		then func(dir string) error
		want string
	}{
		"damaged checkpoints": {nil, func(dir string) error {
			manifests, err := filepath.Glob(filepath.Join(dir, "checkpoints", "step-*", "manifest.json"))
			for _, m := range manifests {
				err = os.Truncate(m, 10)
			}
			return err
		}, "this one stays as it is"},
		"no checkpoints": {[]string{"--set", "checkpoint.keep=0"}, func(string) error { return nil }, "the run is finished"},
	} {
		at := filepath.Join(dir, name)
		if out, code := ltetest.Run(t, 2, append(ltetest.Quick("--run-dir", at), c.args...)...); code != 0 {
			t.Fatalf("exit code %d\n%s", code, out)
		}
		if err := c.then(at); err != nil {
			t.Fatal(err)
		}
		before := contents(t, at)
		for _, resume := range [][]string{{"--resume", at}, {"--resume", "auto", "--run-dir", at}} {
			out, code := ltetest.Run(t, 2, append(append(resume, ltetest.Quick()...), append(c.args, "--set", "train.steps=60")...)...)
			if code != session.ExitUsage || strings.Count(out, "no valid checkpoint to resume from") != 1 || !strings.Contains(out, c.want) {
				t.Errorf("%s, %v: exit code %d, want %d\n%s", name, resume, code, session.ExitUsage, out)
			}
		}
		if !maps.Equal(contents(t, at), before) {
			t.Errorf("%s: the run was changed", name)
		}
	}
}

// Fails if two jobs write to one run directory at once, if the second does not name the first, or if a killed job keeps the next out.
func TestOneJobInARunDirectory(t *testing.T) {
	at := filepath.Join(t.TempDir(), "run")
	long := ltetest.Lively("--set", "train.steps=100000", "--set", "checkpoint.merges=20")
	first := ltetest.Start(t, 2, nil, append([]string{"--run-dir", at, "--resume", "auto"}, long...)...)
	ltetest.Within(t, "a checkpoint", func() bool {
		_, err := os.Stat(filepath.Join(at, "checkpoints", "latest"))
		return err == nil
	})
	config, err := os.ReadFile(filepath.Join(at, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	host, _ := os.Hostname()
	for _, args := range [][]string{{"--resume", at}, {"--run-dir", at, "--resume", "auto"}} {
		out, code := ltetest.Run(t, 2, append(args, long...)...)
		if want := fmt.Sprintf("is in use by process %d on %s", first.PID(t, 0), host); code != session.ExitUsage || strings.Count(out, want) != 1 {
			t.Errorf("exit code %d, want %d and once %q\n%s", code, session.ExitUsage, want, out)
		}
	}
	if now, _ := os.ReadFile(filepath.Join(at, "config.toml")); string(now) != string(config) {
		t.Error("a job that was refused changed config.toml")
	}
	for rank := range 2 {
		_ = syscall.Kill(first.PID(t, rank), syscall.SIGKILL) // a rank that the launcher was quicker with is gone
	}
	if out, code := first.End(t); code == 0 {
		t.Errorf("a killed job exits with 0\n%s", out)
	}
	steps := ltetest.Records(at)[len(ltetest.Records(at))-1].Step + 10
	if out, code := ltetest.Run(t, 2, "--resume", at, "--set", fmt.Sprint("train.steps=", steps)); code != 0 {
		t.Errorf("after a kill: exit code %d\n%s", code, out)
	}
	if _, err := os.Lstat(filepath.Join(at, "run.lock")); err == nil {
		t.Error("the lock of a job that has ended is left")
	}
}

// manyImages is a folder of classes whose statistics take a minute: names of one large image.
func manyImages(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	large := image.NewGray(image.Rect(0, 0, 2000, 2000))
	for i := range large.Pix {
		large.Pix[i] = byte(i * i >> 8)
	}
	f, err := os.Create(filepath.Join(dir, "large.png"))
	if err == nil {
		err = errors.Join(png.Encode(f, large), f.Close())
	}
	for i := 0; i < 2000 && err == nil; i++ {
		class := filepath.Join(dir, "set", fmt.Sprint("class", i%2))
		if err = os.MkdirAll(class, 0o755); err == nil {
			err = os.Link(f.Name(), filepath.Join(class, fmt.Sprint(i, ".png")))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "set")
}

// A signal before the first step ends the job at once, with the exit code of a run that can be started again. Fails if it waits for
// checkpoint.grace.
func TestSignalDuringStartup(t *testing.T) {
	dir := t.TempDir()
	images := manyImages(t)
	for _, c := range []struct {
		signal syscall.Signal
		args   []string
		want   int
	}{{syscall.SIGTERM, nil, session.ExitInterrupted}, {syscall.SIGUSR1, nil, session.ExitInterrupted}, {syscall.SIGINT, nil, -1}} {
		at := filepath.Join(dir, c.signal.String())
		b := ltetest.Start(t, 2, nil, ltetest.Quick("--run-dir", at, "--set", "data.path="+images, "--set", "data.size=8")...)
		pid := b.PID(t, 1)
		time.Sleep(time.Second)
		sent := time.Now()
		if err := syscall.Kill(pid, c.signal); err != nil {
			t.Fatal(err)
		}
		out, code := b.End(t)
		if took := time.Since(sent); took > 5*time.Second {
			t.Errorf("%v: the job ended after %v\n%s", c.signal, took, out)
		}
		if code == 0 || c.want > 0 && code != c.want {
			t.Errorf("%v: exit code %d, want %d\n%s", c.signal, code, c.want, out)
		}
		if _, err := os.Stat(at); err == nil {
			t.Errorf("%v: a run directory without a run", c.signal)
		}
	}
}
