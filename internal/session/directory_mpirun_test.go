//go:build mpirun

package session_test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"lte/internal/ltetest"
	"lte/internal/session"

	"golang.org/x/sys/unix"
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

// Fails if a start in the directory of a run, finished, interrupted or damaged, with checkpoints or without, changes a byte of it: one without
// --resume always, and one with it where that would start the run again over checkpoints that were completed or over a finished run.
func TestARunIsNotOverwritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	whole, without := filepath.Join(dir, "whole"), filepath.Join(dir, "without")
	noCheckpoints := []string{"--set", "checkpoint.keep=0"}
	ltetest.Train(t, 2, whole, ltetest.Quick()...)
	ltetest.Train(t, 2, without, ltetest.Quick(noCheckpoints...)...)
	damage := func(dir string) error {
		manifests, err := filepath.Glob(filepath.Join(dir, "checkpoints", "step-*", "manifest.json"))
		for _, m := range manifests {
			err = errors.Join(err, os.Truncate(m, 10))
		}
		return err
	}
	remove := func(files ...string) func(string) error {
		return func(dir string) (err error) {
			for _, file := range files {
				err = errors.Join(err, os.Remove(filepath.Join(dir, file)))
			}
			return err
		}
	}
	for _, c := range []struct {
		name, of string
		change   func(dir string) error
		resume   string // why it cannot be resumed; "" where it can
		args     []string
	}{
		{"finished", whole, remove(), "", nil},
		{"finished without checkpoints", without, remove(), "the run is finished", noCheckpoints},
		{"interrupted", whole, remove("summary.json", "model.safetensors"), "", nil},
		{"only checkpoints", whole, remove("config.toml", "metrics.jsonl", "summary.json", "model.safetensors"), "", nil},
		{"damaged checkpoints", whole, damage, "this one stays as it is", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			at := filepath.Join(dir, c.name)
			if err := errors.Join(os.CopyFS(at, os.DirFS(c.of)), c.change(at)); err != nil {
				t.Fatal(err)
			}
			before := contents(t, at)
			if c.name != "damaged checkpoints" {
				out, code := ltetest.Run(t, 2, ltetest.Quick(append(c.args, "--run-dir", at)...)...)
				if code != session.ExitUsage || strings.Count(out, "holds a run already") != 1 || !strings.Contains(out, "--resume") {
					t.Errorf("exit code %d, want %d\n%s", code, session.ExitUsage, out)
				}
			}
			for _, resume := range [][]string{{"--resume", at}, {"--resume", "auto", "--run-dir", at}} {
				if c.resume == "" {
					break
				}
				out, code := ltetest.Run(t, 2, ltetest.Quick(slices.Concat(resume, c.args, []string{"--set", "train.steps=60"})...)...)
				if code != session.ExitUsage || strings.Count(out, "no valid checkpoint to resume from") != 1 || !strings.Contains(out, c.resume) {
					t.Errorf("%v: exit code %d, want %d\n%s", resume, code, session.ExitUsage, out)
				}
			}
			if !maps.Equal(contents(t, at), before) {
				t.Error("the run was changed")
			}
		})
	}
}

// Fails if two jobs write to one run directory at once, if the second does not name the first, or if a killed job keeps the next out.
func TestOneJobInARunDirectory(t *testing.T) {
	t.Parallel()
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

// opened returns a function that waits until a file of the folder is opened, at most 15 s.
func opened(t *testing.T, folder string) (wait func()) {
	t.Helper()
	events, err := unix.InotifyInit1(unix.IN_NONBLOCK)
	if err == nil {
		t.Cleanup(func() { _ = unix.Close(events) })
		_, err = unix.InotifyAddWatch(events, folder, unix.IN_OPEN)
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		event := make([]byte, unix.SizeofInotifyEvent+unix.NAME_MAX+1)
		ltetest.Within(t, "a file of "+folder+" opened", func() bool {
			n, _ := unix.Read(events, event) // the first event; an error: none yet
			return n >= unix.SizeofInotifyEvent && binary.NativeEndian.Uint32(event[4:])&unix.IN_ISDIR == 0
		})
	}
}

// A signal before the first step ends the job at once, with the exit code of a run that can be started again. It is sent when images
// are read: all ranks have agreed on the configuration then, after they began to listen. Fails if the job waits for checkpoint.grace.
func TestSignalDuringStartup(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	images := manyImages(t)
	for _, c := range []struct {
		signal syscall.Signal
		args   []string
		want   int
	}{{syscall.SIGTERM, nil, session.ExitInterrupted}, {syscall.SIGUSR1, nil, session.ExitInterrupted}, {syscall.SIGINT, nil, -1}} {
		at := filepath.Join(dir, c.signal.String())
		wait := opened(t, filepath.Join(images, "class1"))
		b := ltetest.Start(t, 2, nil, ltetest.Quick("--run-dir", at, "--set", "data.path="+images, "--set", "data.size=8")...)
		pid := b.PID(t, 1)
		wait()
		sent := time.Now()
		if err := syscall.Kill(pid, c.signal); err != nil {
			t.Fatal(err)
		}
		out, code := b.End(t)
		if took := time.Since(sent); took > 15*time.Second { // the grace is 25 s
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
