package checkpoint

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"lte/internal/file"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
	"github.com/nlpodyssey/safetensors"
)

// File is a part as the manifest has it.
type File struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	XXH64 string `json:"xxh64"` // of all of it
}

// Sum is XXH64 as a number.
func (f File) Sum() uint64 {
	sum, _ := strconv.ParseUint(f.XXH64, 16, 64) // written here
	return sum
}

const (
	plain  = ".safetensors"
	packed = ".zst" // behind it
)

// write makes a file of what fill writes: under a temporary name until it is complete and on the disk, and then on the disk under
// its own. It names the points that it passes after the file's kind.
func write(path, kind string, fill func(io.Writer) error) (err error) {
	f, err := file.Temporary(path)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	Reached(kind + " created")
	w := bufio.NewWriterSize(f, 1<<20)
	if err = fill(w); err == nil {
		err = w.Flush()
	}
	Reached(kind + " written")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	Reached(kind + " synced")
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	Reached(kind + " renamed")
	return syncFolder(filepath.Dir(path))
}

// syncFolder brings the names in a folder to the disk.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// counted is a writer that knows how much went through it, and its checksum.
type counted struct {
	io.Writer
	bytes  int64
	digest *xxhash.Digest
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.bytes += int64(n)
	c.digest.Write(b[:n]) // never fails
	return n, err
}

// writePart writes tensors as a safetensors file, each tensor's checksum in its metadata, through zstd where the name says so.
func writePart(folder, name string, tensors []Tensor) (File, error) {
	views := make(map[string]safetensors.TensorView, len(tensors))
	sums := map[string]string{"format": "lte checkpoint"}
	for _, t := range tensors {
		size := t.Type.Size()
		view, err := safetensors.NewTensorView(t.Type, []uint64{uint64(len(t.Bytes)) / size}, t.Bytes)
		if err != nil {
			return File{}, fmt.Errorf("%s: %w", t.Name, err)
		}
		if _, twice := views[t.Name]; twice {
			panic("checkpoint: two tensors of one name")
		}
		views[t.Name], sums["xxh64 "+t.Name] = view, checksum(t.Bytes)
	}
	part := File{Name: name}
	err := write(filepath.Join(folder, name), "part", func(w io.Writer) error {
		c := &counted{w, 0, xxhash.New()}
		defer func() { part.Bytes, part.XXH64 = c.bytes, fmt.Sprintf("%016x", c.digest.Sum64()) }()
		if filepath.Ext(name) != packed {
			return safetensors.SerializeToWriter(views, sums, c)
		}
		z, err := zstd.NewWriter(c, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			return err
		}
		return errors.Join(safetensors.SerializeToWriter(views, sums, z), z.Close())
	})
	return part, err
}
