package checkpoint

import (
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

// File is a part's entry in the manifest.
type File struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
	XXH64 string `json:"xxh64"` // of the complete file
}

// Sum is the value of XXH64.
func (f File) Sum() uint64 {
	sum, _ := strconv.ParseUint(f.XXH64, 16, 64) // written by this program
	return sum
}

const (
	suffix     = ".safetensors"
	zstdSuffix = ".zst" // after suffix
)

// write writes a file by fill under a temporary name, and renames it when it is on disk. kind prefixes the names of the points in Reached.
func write(path, kind string, fill func(io.Writer) error) error {
	if err := file.WriteInSteps(path, fill, func(step string) { Reached(kind + " " + step) }); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder writes a folder's entries to disk.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// counter counts the bytes written to it.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// writePart writes tensors as a safetensors file with each tensor's checksum in its metadata, compressed by zstd if the name ends so.
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
	var bytes counter
	digest := xxhash.New()
	err := write(filepath.Join(folder, name), "part", func(w io.Writer) error {
		w = io.MultiWriter(w, digest, &bytes)
		if filepath.Ext(name) != zstdSuffix {
			return safetensors.SerializeToWriter(views, sums, w)
		}
		z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			return err
		}
		return errors.Join(safetensors.SerializeToWriter(views, sums, z), z.Close())
	})
	return File{name, int64(bytes), hexadecimal(digest.Sum64())}, err
}
