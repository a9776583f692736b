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

// Holder is who holds a lock, as the lock file tells it.
type Holder struct {
	Host    string    `json:"host"`
	Process int       `json:"process"`
	Job     string    `json:"job,omitempty"` // SLURM's number of the job
	Since   time.Time `json:"since"`
	Machine string    `json:"machine"` // the kernel's boot id
	Token   string    `json:"token"`   // of this lock alone
	Beat    int64     `json:"beat"`    // counts up while the holder lives
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
	Holder Holder // zero where the lock file does not tell
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
// Two mechanisms hold it, as neither is enough on every file system. flock is released by the kernel with its process, also over NFS,
// but file systems exist where it is refused or does not reach other machines (Lustre, by mount option). So the holder also counts
// beats in the lock file: where flock does not decide, a lock that is there is taken over only when its beats have stopped.
// A holder that was stopped for so long finds that it has lost the lock when it goes on.
type Lock struct {
	path   string
	f      *os.File
	holder Holder
	lost   func(error)
	stop   chan struct{}
	beats  sync.WaitGroup
}

// timing of beats; tests shorten it.
type timing struct {
	beat  time.Duration // between two beats
	watch time.Duration // without a beat, after which a holder is taken for dead
	queue time.Duration // for which a job that SLURM queued again waits for its own earlier start to end
}

// usual is longer than SLURM's KillWait of 30 s.
var usual = timing{beat: 2 * time.Second, watch: 7 * time.Second, queue: time.Minute}

// Acquire locks a directory, which exists. A *HeldError says who holds it. note is told of a wait of some seconds. lost is called, at
// most once and from another goroutine, where the lock is found to be lost: the process must stop writing to the directory.
func Acquire(dir string, note func(string), lost func(error)) (*Lock, error) {
	host, _ := os.Hostname()
	return acquire(dir, note, lost, usual, cmp.Or(machine.ID(os.DirFS("/")), host), syscall.Flock)
}

// flock is syscall.Flock, or what a test puts in its place.
type flock func(fd, how int) error

func acquire(dir string, note func(string), lost func(error), every timing, machine string, lock flock) (*Lock, error) {
	host, _ := os.Hostname() // the message then lacks it
	l := &Lock{path: filepath.Join(dir, LockFile), lost: lost, stop: make(chan struct{}), holder: Holder{Host: host, Process: os.Getpid(),
		Job: os.Getenv("SLURM_JOB_ID"), Since: time.Now().UTC().Truncate(time.Second), Machine: machine, Token: fmt.Sprintf("%016x", rand.Uint64())}}
	var err error
	for begun, told := time.Now(), false; ; time.Sleep(every.beat) {
		err = l.try(lock, note, every)
		held := new(HeldError)
		if !errors.As(err, &held) {
			break
		}
		held.Dir = dir
		if l.holder.Job == "" || held.Holder.Job != l.holder.Job || time.Since(begun) > every.queue {
			return nil, held
		}
		if !told {
			told = true
			note(fmt.Sprintf("waiting for the earlier start of this SLURM job to leave %s (%s)", dir, held.Holder))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock the run directory: %w", err)
	}
	l.beats.Add(1)
	go l.keep(every.beat)
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
	before, told := l.read()
	switch {
	case state == locked:
		return &HeldError{Holder: before}
	case told && (state == unsupported || before.Machine != l.holder.Machine): // flock may not reach that machine
		note(fmt.Sprintf("%s has the lock of %s: waiting %v for a sign of life", filepath.Dir(l.path), before, every.watch))
		time.Sleep(every.watch)
		if now, _ := l.read(); now.Token != before.Token || now.Beat != before.Beat {
			return &HeldError{Holder: now}
		}
	}
	err := l.write()
	if err == nil {
		err = l.f.Truncate(recordLength) // what others wrote may be longer
	}
	if err != nil || state == free {
		return err
	}
	time.Sleep(every.beat) // another process may have waited likewise: the last to write has it
	if now, _ := l.read(); now.Token != l.holder.Token {
		return &HeldError{Holder: now}
	}
	return nil
}

// lockState is what flock says.
type lockState int

const (
	free        lockState = iota // it is this process's now
	locked                       // it is another's
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
		l.f.Close() // interrupted, or its holder has removed it since it was opened
	}
}

// inPlace says whether the open file is still the one at the lock's path.
func (l *Lock) inPlace() bool {
	mine, err := l.f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(l.path)
	return err == nil && os.SameFile(mine, there)
}

// read is what the lock file says now. It is opened anew: a network file system then asks its server.
func (l *Lock) read() (h Holder, ok bool) {
	text, err := file.Read(l.path, 1<<16)
	if err != nil || json.Unmarshal(text, &h) != nil {
		return Holder{}, false
	}
	return h, h.Process != 0
}

// recordLength is the bytes of a lock file.
const recordLength = 512

// write writes the holder and its count of beats over what the file says, in one piece of constant length.
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

// keep beats until the lock is released, and finds out whether it is lost. A beat that cannot be written is no loss.
func (l *Lock) keep(every time.Duration) {
	defer l.beats.Done()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
		}
		if now, told := l.read(); told && now.Token != l.holder.Token {
			l.lost(fmt.Errorf("this job was taken for dead: %s is now in use by %s", quote.Text(filepath.Dir(l.path)), now))
			return
		}
		l.holder.Beat++
		_ = l.write()
	}
}

// Release gives the lock back and removes its file.
func (l *Lock) Release() error {
	close(l.stop)
	l.beats.Wait()
	var err error
	if now, told := l.read(); l.inPlace() && (!told || now.Token == l.holder.Token) {
		err = os.Remove(l.path)
	}
	return errors.Join(err, l.f.Close())
}
