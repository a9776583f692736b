package checkpoint

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

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

// write makes a file of what fill writes: under a temporary name until it is whole and on the disk, and then on the disk under
// its own. It names the points that it passes after the file's kind.
func write(path, kind string, fill func(io.Writer) error) (err error) {
	temporary := path + ".tmp"
	f, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(temporary)
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
	if err = os.Rename(temporary, path); err != nil {
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
	file := File{Name: name}
	err := write(filepath.Join(folder, name), "part", func(w io.Writer) error {
		c := &counted{w, 0, xxhash.New()}
		defer func() { file.Bytes, file.XXH64 = c.bytes, fmt.Sprintf("%016x", c.digest.Sum64()) }()
		if filepath.Ext(name) != packed {
			return safetensors.SerializeToWriter(views, sums, c)
		}
		z, err := zstd.NewWriter(c, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err != nil {
			return err
		}
		return errors.Join(safetensors.SerializeToWriter(views, sums, z), z.Close())
	})
	return file, err
}

// Part is a file of tensors, read and found to be what was written.
type Part struct {
	name    string
	tensors map[string]Tensor
	names   []string
}

// Restore copies the part to the memory of tensors. It must hold these and no others; if not, nothing is copied.
func (p *Part) Restore(tensors []Tensor) error {
	for _, t := range tensors {
		if _, ok := p.tensors[t.Name]; !ok {
			return fmt.Errorf("%s has no tensor %q, which this run needs", p.name, t.Name)
		}
		if err := p.fits(t); err != nil {
			return err
		}
	}
	if len(tensors) != len(p.tensors) {
		known := map[string]bool{}
		for _, t := range tensors {
			known[t.Name] = true
		}
		for name := range p.tensors {
			if !known[name] {
				return fmt.Errorf("%s has a tensor %q, which this run does not know", p.name, name)
			}
		}
	}
	for _, t := range tensors {
		copy(t.Bytes, p.tensors[t.Name].Bytes)
	}
	return nil
}

// Take copies to the memory of tensors what the part has of them, and returns those that it has not.
func (p *Part) Take(tensors []Tensor) (left []Tensor, err error) {
	for _, t := range tensors {
		have, ok := p.tensors[t.Name]
		if !ok {
			left = append(left, t)
			continue
		}
		if err := p.fits(t); err != nil {
			return nil, err
		}
		copy(t.Bytes, have.Bytes)
	}
	return left, nil
}

// fits says whether the tensor of that name is of the same type and length.
func (p *Part) fits(t Tensor) error {
	if have := p.tensors[t.Name]; have.Type != t.Type || len(have.Bytes) != len(t.Bytes) {
		return fmt.Errorf("%s: tensor %q has %d bytes of %s, and this run's %d of %s", p.name, t.Name, len(have.Bytes), have.Type, len(t.Bytes), t.Type)
	}
	return nil
}

// Tensors returns all of them by name, in the order of the file.
func (p *Part) Tensors() (all []Tensor) {
	for _, name := range p.names {
		all = append(all, p.tensors[name])
	}
	return all
}

// readPart reads a part and compares its size and checksums with the manifest's and its own.
func readPart(folder string, file File) (*Part, error) {
	raw, err := os.ReadFile(filepath.Join(folder, file.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing", file.Name)
	} else if err != nil {
		return nil, err
	}
	if int64(len(raw)) != file.Bytes {
		return nil, fmt.Errorf("%s has %d bytes, and %d were written", file.Name, len(raw), file.Bytes)
	}
	whole := checksum(raw) == file.XXH64
	p, err := decodePart(file.Name, raw)
	switch {
	case err != nil:
		return nil, err
	case !whole: // no tensor is damaged: the rest of the file is
		return nil, fmt.Errorf("%s: the file's checksum is not the one that was written", file.Name)
	}
	return p, nil
}

func decodePart(name string, raw []byte) (*Part, error) {
	if filepath.Ext(name) == packed {
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		defer z.Close()
		if raw, err = z.DecodeAll(raw, nil); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	_, metadata, err := safetensors.ReadMetadata(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	all, err := safetensors.Deserialize(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	sums := metadata.Metadata()
	p := &Part{name: name, tensors: map[string]Tensor{}}
	for _, t := range all.Tensors() {
		if checksum(t.TensorView.Data()) != sums["xxh64 "+t.Name] {
			return nil, fmt.Errorf("%s: tensor %q is damaged: its checksum is not the one that was written", name, t.Name)
		}
		p.tensors[t.Name] = Tensor{t.Name, t.TensorView.DType(), t.TensorView.Data()}
		p.names = append(p.names, t.Name)
	}
	return p, nil
}
