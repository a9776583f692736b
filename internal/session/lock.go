package session

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"lte/internal/file"
	"lte/internal/machine"
	"lte/internal/quote"
)

// LockFile is the name of the lock in a run directory.
const LockFile = "run.lock"

// Holder is the process that holds a lock, as the lock file says.
type Holder struct {
	Host    string    `json:"host"`
	Process int       `json:"process"`
	Job     string    `json:"job,omitempty"` // SLURM's number of the job
	Since   time.Time `json:"since"`
	Machine string    `json:"machine"` // machine.ID
	Token   string    `json:"token"`   // identifies this lock
	Beat    int64     `json:"beat"`    // counts up while the holder runs
}

func (h Holder) String() string {
	s := fmt.Sprintf("process %d on %s", h.Process, quote.Text(h.Host))
	if h.Job != "" {
		s += ", SLURM job " + quote.Text(h.Job)
	}
	return s + ", since " + h.Since.Format(time.DateTime)
}

// HeldError is the error of a directory whose lock another process holds.
type HeldError struct {
	Dir    string
	Holder Holder // zero where the lock file does not say
}

func (e *HeldError) Error() string {
	by := "another process"
	if e.Holder.Process != 0 {
		by = e.Holder.String()
	}
	return fmt.Sprintf("%s is in use by %s: end that job or wait for it, or choose another run directory", quote.Text(e.Dir), by)
}

// Lock keeps other jobs out of a run directory until it is released or the process ends, however it ends.
//
// It uses two mechanisms, as neither is enough on every file system. The kernel releases a flock with its process, also over NFS, but some
// file systems refuse it or do not share it with other machines (Lustre, by mount option). So the holder also counts heartbeats in the
// lock file: where flock does not decide, another process takes the lock only after the heartbeats have stopped. A holder that was suspended for
// that long finds that it has lost the lock when it continues.
type Lock struct {
	path   string
	f      *os.File
	holder Holder
	lost   func(error)
	stop   chan struct{}
	beats  sync.WaitGroup
}

// timing of heartbeats; tests shorten it.
type timing struct {
	beat  time.Duration // between two heartbeats
	watch time.Duration // without a heartbeat, after which the holder is considered dead
	queue time.Duration // for which a job that SLURM has requeued waits for its earlier start to end
}

// defaultTiming waits for longer than SLURM's KillWait of 30 s.
var defaultTiming = timing{beat: 2 * time.Second, watch: 7 * time.Second, queue: time.Minute}

// Acquire locks an existing directory. A *HeldError names the process that holds it. note is called before a wait of some seconds. lost is
// called, at most once and from another goroutine, if the lock is lost: the process must then stop writing to the directory.
func Acquire(dir string, note func(string), lost func(error)) (*Lock, error) {
	host, _ := os.Hostname()
	return acquire(dir, note, lost, defaultTiming, cmp.Or(machine.ID(os.DirFS("/")), host), syscall.Flock)
}

// flock is syscall.Flock, or what a test puts in its place.
type flock func(fd, how int) error

func acquire(dir string, note func(string), lost func(error), every timing, machine string, lock flock) (*Lock, error) {
	host, _ := os.Hostname() // without it messages lack the name
	l := &Lock{path: filepath.Join(dir, LockFile), lost: lost, stop: make(chan struct{}), holder: Holder{Host: host, Process: os.Getpid(),
		Job: os.Getenv("SLURM_JOB_ID"), Since: time.Now().UTC().Truncate(time.Second), Machine: machine, Token: fmt.Sprintf("%016x", rand.Uint64())}}
	var err error
	for started, noted := time.Now(), false; ; time.Sleep(every.beat) {
		err = l.try(lock, note, every)
		held := new(HeldError)
		if !errors.As(err, &held) {
			break
		}
		held.Dir = dir
		if l.holder.Job == "" || held.Holder.Job != l.holder.Job || time.Since(started) > every.queue {
			return nil, held
		}
		if !noted {
			noted = true
			note(fmt.Sprintf("waiting for the earlier start of this SLURM job to release %s (%s)", dir, held.Holder))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock the run directory: %w", err)
	}
	l.beats.Go(func() { l.beatUntilReleased(every.beat) })
	return l, nil
}

// try takes the lock, unless another process holds it.
func (l *Lock) try(lock flock, note func(string), every timing) error {
	state, err := l.open(lock)
	if err == nil {
		err = l.take(state, note, every)
	}
	if err != nil && l.f != nil {
		l.f.Close()
	}
	return err
}

// take makes this process the holder, unless another one is.
func (l *Lock) take(state lockState, note func(string), every timing) error {
	before, ok := l.read()
	switch {
	case state == locked:
		return &HeldError{Holder: before}
	case ok && (state == unsupported || before.Machine != l.holder.Machine): // flock may not be shared with that machine
		note(fmt.Sprintf("%s has the lock of %s: waiting %v for a heartbeat", filepath.Dir(l.path), before, every.watch))
		time.Sleep(every.watch)
		if now, _ := l.read(); now.Token != before.Token || now.Beat != before.Beat {
			return &HeldError{Holder: now}
		}
	}
	err := l.write()
	if err == nil {
		err = l.f.Truncate(recordLength) // the file of another version may be longer
	}
	if err != nil || state == free {
		return err
	}
	time.Sleep(every.beat) // another process may have waited too: the last to write holds the lock
	if now, _ := l.read(); now.Token != l.holder.Token {
		return &HeldError{Holder: now}
	}
	return nil
}

// lockState is the result of flock.
type lockState int

const (
	free        lockState = iota // this process has locked the file
	locked                       // another one has
	unsupported                  // the file system has no such locks
)

// open opens the lock file and locks it, if it can.
func (l *Lock) open(lock flock) (state lockState, err error) {
	for {
		if l.f, err = file.OpenOwn(l.path, os.O_RDWR|os.O_CREATE); err != nil {
			return locked, err
		}
		err := lock(int(l.f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			state = free
		case errors.Is(err, syscall.EWOULDBLOCK):
			return locked, nil
		case errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.ENOLCK), errors.Is(err, syscall.EOPNOTSUPP):
			state = unsupported
		case !errors.Is(err, syscall.EINTR):
			return locked, &fs.PathError{Op: "lock", Path: l.path, Err: err}
		}
		if err != syscall.EINTR && l.inPlace() {
			return state, nil
		}
		l.f.Close() // interrupted, or the holder has removed the file since it was opened
	}
}

// inPlace says whether the open file is still the one at the lock's path.
func (l *Lock) inPlace() bool {
	opened, err := l.f.Stat()
	current, err2 := os.Stat(l.path)
	return err == nil && err2 == nil && os.SameFile(opened, current)
}

// read returns what the lock file says now. It opens the file, so that a network file system asks its server.
func (l *Lock) read() (h Holder, ok bool) {
	text, err := file.Read(l.path, 1<<16)
	if err != nil || json.Unmarshal(text, &h) != nil {
		return Holder{}, false
	}
	return h, h.Process != 0
}

// recordLength is the bytes of a lock file.
const recordLength = 512

// write overwrites the file with the holder and its heartbeat, as one record of constant length.
func (l *Lock) write() error {
	text, err := json.Marshal(l.holder)
	if err != nil {
		return err
	}
	text = append(text, bytes.Repeat([]byte(" "), max(0, recordLength-1-len(text)))...)
	if _, err := l.f.WriteAt(append(text, '\n'), 0); err != nil {
		return err
	}
	return l.f.Sync()
}

// beatUntilReleased writes heartbeats and checks whether the lock is lost. A heartbeat that cannot be written does not lose it.
func (l *Lock) beatUntilReleased(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		if now, ok := l.read(); ok && now.Token != l.holder.Token {
			l.lost(fmt.Errorf("this job sent no heartbeat for too long: %s is now in use by %s", quote.Text(filepath.Dir(l.path)), now))
			return
		}
		l.holder.Beat++
		_ = l.write()
	}
}

// Release unlocks the directory and removes the lock file.
func (l *Lock) Release() error {
	close(l.stop)
	l.beats.Wait()
	var err error
	if now, ok := l.read(); l.inPlace() && (!ok || now.Token == l.holder.Token) {
		err = os.Remove(l.path)
	}
	return errors.Join(err, l.f.Close())
}
