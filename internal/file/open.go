// Package file opens, reads and writes files whose names come from outside the program: anything but a regular file (a FIFO, a device, a
// socket) is refused at once, reading is bounded, and a file is written completely or not at all. Syncing folders against a crash of the
// machine is left to package checkpoint.
package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// ErrNotRegular is the error of a file that is neither a regular file nor absent.
var ErrNotRegular = errors.New("not a regular file")

// ErrTooLarge is the error of a file of more bytes than its reader allows.
var ErrTooLarge = errors.New("too large")

// Open opens a regular file for reading. Anything else is refused without waiting for it.
func Open(path string) (*os.File, error) { return open(path, os.O_RDONLY, 0) }

// OpenOwn opens or creates a regular file that this program keeps in a folder of its own, with flags of os.OpenFile. A symbolic
// link is refused: what it leads to is not the program's.
func OpenOwn(path string, flags int) (*os.File, error) {
	f, err := open(path, flags|syscall.O_NOFOLLOW, 0o666)
	if errors.Is(err, syscall.ELOOP) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("%w: it is a symbolic link", ErrNotRegular)}
	}
	return f, err
}

func open(path string, flags int, perm fs.FileMode) (*os.File, error) {
	// Opening a device can have effects, so that its kind is asked first; a FIFO that takes its place does not block either.
	if info, err := os.Stat(path); err == nil {
		if err := regular("open", path, info); err != nil {
			return nil, err
		}
	}
	f, err := os.OpenFile(path, flags|syscall.O_NONBLOCK, perm)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = regular("open", path, info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Read returns the contents of a regular file of at most limit bytes.
func Read(path string, limit int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("%w: more than the %d bytes that such a file may have", ErrTooLarge, limit)}
	}
	return text, err
}

// Cause returns the error in an os.PathError, without the operation and the path, for callers that name the file themselves.
func Cause(err error) error {
	if e := new(os.PathError); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// regular returns the error of a file that is not regular.
func regular(op, path string, info fs.FileInfo) error {
	if info.Mode().IsRegular() {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: fmt.Errorf("%w: it is %s", ErrNotRegular, Kind(info.Mode()))}
}

// Kind describes what is not a regular file: a folder, a FIFO, a socket or a device.
func Kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return mode.Type().String()
}
