package session

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const heldBy = "LTE_TEST_LOCK_DIR"

// HoldLock makes a process that hold started keep a lock until it is killed.
func HoldLock() {
	if dir := os.Getenv(heldBy); dir != "" {
		if _, err := acquire(dir, ignore, func(error) {}, quick, os.Getenv("LTE_TEST_MACHINE"), syscall.Flock); err != nil {
			panic(err)
		}
		os.Stdout.WriteString("held\n")
		select {}
	}
}

var quick = timing{beat: 20 * time.Millisecond, watch: 200 * time.Millisecond, queue: 10 * time.Second}

func ignore(string) {}

func fail(t *testing.T) func(error) {
	return func(err error) { t.Errorf("lost: %v", err) }
}

// hold starts a process that holds the lock of dir.
func hold(t *testing.T, dir, machine string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), heldBy+"="+dir, "LTE_TEST_MACHINE="+machine, "SLURM_JOB_ID=77")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatalf("the other process holds no lock: %v", err)
	}
	return cmd
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// unsupported is the flock of a file system that has none.
func noFlock(int, int) error { return syscall.ENOSYS }

// Fails if two processes hold a lock, if the holder is not named, or if a killed one keeps it: on the same machine, on another one, and
// on a file system without flock.
func TestOneHolderUntilItIsKilled(t *testing.T) {
	for name, c := range map[string]struct {
		machine string // of the holder
		lock    flock  // of this process
		wait    bool
	}{
		"same machine":                   {"here", syscall.Flock, false},
		"another machine":                {"there", syscall.Flock, true},
		"another machine, without flock": {"there", noFlock, true},
		"same machine, without flock":    {"here", noFlock, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			other := hold(t, dir, c.machine)
			_, err := acquire(dir, ignore, fail(t), quick, "here", c.lock)
			held := new(HeldError)
			if !errors.As(err, &held) {
				t.Fatalf("a second holder: %v", err)
			}
			for _, want := range []string{dir, "process " + strconv.Itoa(other.Process.Pid), "SLURM job 77"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not name %s", err, want)
				}
			}
			must(t, other.Process.Kill())
			_ = other.Wait()
			begun := time.Now()
			l, err := acquire(dir, ignore, fail(t), quick, "here", c.lock)
			if err != nil {
				t.Fatalf("after the holder was killed: %v", err)
			}
			if waited := time.Since(begun) >= quick.watch; waited != c.wait {
				t.Errorf("waited for a heartbeat: %t, want %t", waited, c.wait)
			}
			must(t, l.Release())
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("released, and there is %v", left)
			}
		})
	}
}

// A job that SLURM queued again waits for its own earlier start, and for no other job.
func TestQueuedAgain(t *testing.T) {
	dir := t.TempDir()
	other := hold(t, dir, "here") // SLURM job 77
	t.Setenv("SLURM_JOB_ID", "78")
	if _, err := acquire(dir, ignore, fail(t), quick, "here", syscall.Flock); !errors.As(err, new(*HeldError)) {
		t.Fatalf("another job: %v", err)
	}
	t.Setenv("SLURM_JOB_ID", "77")
	notes := 0
	l, err := acquire(dir, func(string) {
		if notes++; notes == 1 {
			_ = other.Process.Kill()
			_ = other.Wait()
		}
	}, fail(t), quick, "here", syscall.Flock)
	must(t, err)
	must(t, l.Release())
	if notes != 1 {
		t.Errorf("%d notes of waiting", notes)
	}
}

// Of processes that find a dead holder's lock at once, one gets it.
func TestOneOfManyTakesOver(t *testing.T) {
	for _, lock := range []flock{syscall.Flock, noFlock} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, LockFile), []byte(`{"host":"gone","process":1,"machine":"there","token":"x"}`), 0o644))
		got := make(chan *Lock, 8)
		for range cap(got) {
			go func() {
				l, err := acquire(dir, ignore, func(error) {}, quick, "here", lock)
				if held := new(HeldError); err != nil && !errors.As(err, &held) {
					t.Error(err)
				}
				got <- l
			}()
		}
		holders := 0
		for range cap(got) {
			if l := <-got; l != nil {
				holders++
				defer l.Release()
			}
		}
		if holders != 1 {
			t.Errorf("%d processes hold the lock", holders)
		}
	}
}

// A holder that was suspended until another process took its lock stops when it finds out, and does not touch that lock.
func TestLostLockIsNoticed(t *testing.T) {
	dir := t.TempDir()
	lost := make(chan error, 1)
	slow := timing{beat: 500 * time.Millisecond, watch: quick.watch}
	first, err := acquire(dir, ignore, func(err error) { lost <- err }, slow, "there", noFlock)
	must(t, err)
	second, err := acquire(dir, ignore, fail(t), quick, "here", noFlock)
	must(t, err)
	select {
	case err := <-lost:
		if !strings.Contains(err.Error(), "sent no heartbeat for too long") || !strings.Contains(err.Error(), dir) {
			t.Errorf("lost: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the first holder does not notice")
	}
	must(t, first.Release())
	if now, ok := second.read(); !ok || now.Token != second.holder.Token {
		t.Errorf("the second holder's lock says %+v", now)
	}
	must(t, second.Release())
}

// A lock file that no process wrote completely is no lock; one that cannot be opened is an error that names it.
func TestLockFilesOfOthers(t *testing.T) {
	for _, text := range []string{"", "{", `{"process":"x"}`, "\x00\x00", strings.Repeat("[", 70000)} {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, LockFile), []byte(text), 0o644))
		l, err := acquire(dir, ignore, fail(t), quick, "here", syscall.Flock)
		if err != nil {
			t.Fatalf("%.10q: %v", text, err)
		}
		if now, ok := l.read(); !ok || now.Token != l.holder.Token {
			t.Errorf("%.10q: the lock says %+v", text, now)
		}
		must(t, l.Release())
	}
	dir := t.TempDir()
	must(t, syscall.Mkfifo(filepath.Join(dir, LockFile), 0o644))
	if _, err := acquire(dir, ignore, fail(t), quick, "here", syscall.Flock); err == nil || !strings.Contains(err.Error(), LockFile) {
		t.Errorf("a FIFO: %v", err)
	}
}
