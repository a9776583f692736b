package file

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
)

// temporarySuffix ends the names of files that are not complete yet, after 16 hexadecimal digits.
const temporarySuffix = ".tmp"

var temporaryName = regexp.MustCompile(`.\.[0-9a-f]{16}\.tmp$`)

// Write makes the file at path of what fill writes, complete or not at all: under a temporary name until all of it is on the disk.
// After an error the file is what it was before. What is there and is no regular file is refused.
func Write(path string, fill func(io.Writer) error) error {
	f, err := Temporary(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	if err = fill(w); err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error tells more
	}
	return err
}

// WriteBytes is Write of a text.
func WriteBytes(path string, text []byte) error {
	return Write(path, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// Temporary creates a file next to path that is to be renamed to it. Its name cannot be predicted, and nothing of that name is
// opened or followed. What is at path and is no regular file is refused: renaming would replace a device.
func Temporary(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil {
		if err := regular("write", path, info); err != nil {
			return nil, err
		}
	}
	var f *os.File
	err := unused(path, func(name string) (err error) {
		f, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		return err
	})
	return f, err
}

// Link makes path a symbolic link to target, from one instant to the next, whatever was at path.
func Link(target, path string) error {
	name, err := TemporaryLink(target, path)
	if err != nil {
		return err
	}
	if err := os.Rename(name, path); err != nil {
		_ = os.Remove(name) // the error tells more
		return err
	}
	return nil
}

// TemporaryLink makes a symbolic link to target next to path, that is to be renamed to it, under a name as Temporary's.
func TemporaryLink(target, path string) (name string, err error) {
	err = unused(path, func(n string) error {
		name = n
		return os.Symlink(target, name)
	})
	return name, err
}

// unused calls create with names next to path until it meets one that is not taken.
func unused(path string, create func(name string) error) error {
	for try := 0; ; try++ {
		err := create(fmt.Sprintf("%s.%016x%s", path, rand.Uint64(), temporarySuffix))
		if !errors.Is(err, fs.ErrExist) || try == 100 {
			return err
		}
	}
}

// RemoveTemporaries removes from a folder what writers that were killed have left there, and nothing else. No writer may be at work
// in it.
func RemoveTemporaries(folder string) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if temporaryName.MatchString(e.Name()) && !e.IsDir() {
			if err := os.Remove(filepath.Join(folder, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
