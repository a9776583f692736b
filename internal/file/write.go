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

// Write writes a file with what fill writes, completely or not at all: under a temporary name until all of it is on disk. After an error
// the file at path is unchanged. A path that exists and is not a regular file is refused.
func Write(path string, fill func(io.Writer) error) error {
	return WriteInSteps(path, fill, func(string) {})
}

// WriteInSteps is Write with a callback after each step: created, written, synced and renamed.
func WriteInSteps(path string, fill func(io.Writer) error, completed func(step string)) error {
	f, err := Temporary(path)
	if err != nil {
		return err
	}
	completed("created")
	w := bufio.NewWriterSize(f, 1<<20)
	if err = fill(w); err == nil {
		err = w.Flush()
	}
	completed("written")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		completed("synced")
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // err is more informative
		return err
	}
	completed("renamed")
	return nil
}

// WriteBytes is Write of a byte slice.
func WriteBytes(path string, text []byte) error {
	return Write(path, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

// Temporary creates a file next to path, to be renamed to it. Its name is unpredictable, and an existing file or link is never opened. A
// path that exists and is not a regular file is refused: renaming would replace a device.
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

// Link atomically makes path a symbolic link to target, whatever was at path. created is called before the link gets its name.
func Link(target, path string, created func()) error {
	var name string
	err := unused(path, func(n string) error {
		name = n
		return os.Symlink(target, name)
	})
	if err != nil {
		return err
	}
	created()
	if err := os.Rename(name, path); err != nil {
		_ = os.Remove(name) // err is more informative
		return err
	}
	return nil
}

// unused calls create with names next to path until one does not exist yet.
func unused(path string, create func(name string) error) error {
	for try := 0; ; try++ {
		err := create(fmt.Sprintf("%s.%016x%s", path, rand.Uint64(), temporarySuffix))
		if !errors.Is(err, fs.ErrExist) || try == 100 {
			return err
		}
	}
}

// RemoveTemporaries removes the temporary files that killed writers left in a folder, and nothing else. No writer may be active in it.
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
