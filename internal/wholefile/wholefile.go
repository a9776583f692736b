// Package wholefile writes files that are there in full or not at all. What a crash of the machine may do to a folder is left to
// package checkpoint, whose files must outlive one.
package wholefile

import (
	"bufio"
	"errors"
	"io"
	"os"
)

// Write makes a file of what fill writes: under a temporary name, path.tmp, until all of it is on the disk. After an error neither
// is there, or what was there before.
func Write(path string, fill func(io.Writer) error) error {
	temporary := path + ".tmp"
	f, err := os.Create(temporary)
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
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = os.Remove(temporary) // the error tells more
	}
	return err
}
