package checkpoint

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"lte/internal/file"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
	"github.com/nlpodyssey/safetensors"
)

// The most that a part may be: what is more was not written by this program.
const (
	maxPart   = 1 << 48  // bytes
	maxHeader = 16 << 20 // bytes: some 60,000 tensors
	maxName   = 1000     // bytes, of a tensor's name
	maxWindow = 64 << 20 // bytes that decompression looks back
	maxRatio  = 4096     // a compressed part's tensors, over its own bytes, and
	slack     = 16 << 20 // bytes that they may have beyond: state that is all zeros shrinks to nothing
)

// Stored is a tensor in a part.
type Stored struct {
	Name  string
	Type  safetensors.DType
	Bytes int64
	XXH64 string
}

// Part is a file of tensors that was read once and found to be what was written. It holds none of them: where they are wanted they
// are read again, into the memory that they go to.
type Part struct {
	folder string
	file   File
	all    []Stored // in the order of the file
	byName map[string]Stored
}

// Tensors returns all of them, in the order of the file.
func (p *Part) Tensors() []Stored { return p.all }

// Restore reads the part into the memory of tensors. It must hold these and no others; if not, nothing is read.
func (p *Part) Restore(tensors []Tensor) error {
	known := map[string]bool{}
	for _, t := range tensors {
		if known[t.Name] = true; p.byName[t.Name].Name == "" {
			return fmt.Errorf("%s has no tensor %q, which this run needs", p.file.Name, t.Name)
		}
		if err := p.fits(t); err != nil {
			return err
		}
	}
	for _, t := range p.all {
		if !known[t.Name] {
			return fmt.Errorf("%s has a tensor %q, which this run does not know", p.file.Name, t.Name)
		}
	}
	return p.read(tensors)
}

// Take reads into the memory of tensors what the part has of them, and returns those that it has not.
func (p *Part) Take(tensors []Tensor) (left []Tensor, err error) {
	var have []Tensor
	for _, t := range tensors {
		if p.byName[t.Name].Name == "" {
			left = append(left, t)
			continue
		}
		if err := p.fits(t); err != nil {
			return nil, err
		}
		have = append(have, t)
	}
	if have == nil {
		return left, nil
	}
	return left, p.read(have)
}

// fits says whether the tensor of that name is of the same type and length.
func (p *Part) fits(t Tensor) error {
	if have := p.byName[t.Name]; have.Type != t.Type || have.Bytes != int64(len(t.Bytes)) {
		return fmt.Errorf("%s: tensor %q has %d bytes of %s, and this run's %d of %s", p.file.Name, t.Name, have.Bytes, have.Type, len(t.Bytes), t.Type)
	}
	return nil
}

// read reads tensors that the part has and that fit.
func (p *Part) read(tensors []Tensor) error {
	into := map[string][]byte{}
	for _, t := range tensors {
		into[t.Name] = t.Bytes
	}
	s, err := open(p.folder, p.file)
	if err != nil {
		return err
	}
	defer s.close()
	if _, err := s.header(); err != nil {
		return fmt.Errorf("%s: %w", p.file.Name, err)
	}
	for _, t := range p.all {
		memory, wanted := into[t.Name]
		if wanted {
			_, err = io.ReadFull(s, memory)
		} else {
			err = s.skip(t.Bytes)
		}
		if err != nil {
			return fmt.Errorf("%s: tensor %q: %w", p.file.Name, t.Name, err)
		}
		if wanted && checksum(memory) != t.XXH64 {
			return damaged(p.file.Name, t.Name)
		}
	}
	return nil
}

func damaged(part, tensor string) error {
	return fmt.Errorf("%s: tensor %q is damaged: its checksum is not the one that was written", part, tensor)
}

// readPart reads a part, in memory that does not grow with it, and compares its size and checksums with the manifest's and its own.
func readPart(folder string, f File) (*Part, error) {
	s, err := open(folder, f)
	if err != nil {
		return nil, err
	}
	defer s.close()
	p := &Part{folder: folder, file: f, byName: map[string]Stored{}}
	if p.all, err = s.header(); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	digest, buffer := xxhash.New(), make([]byte, 1<<20)
	for _, t := range p.all {
		digest.Reset()
		n, err := io.CopyBuffer(digest, io.LimitReader(s, t.Bytes), buffer)
		if err == nil && n < t.Bytes {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, fmt.Errorf("%s: tensor %q: %w", f.Name, t.Name, err)
		}
		if fmt.Sprintf("%016x", digest.Sum64()) != t.XXH64 {
			return nil, damaged(f.Name, t.Name)
		}
		p.byName[t.Name] = t
	}
	if n, err := io.ReadFull(s, buffer[:1]); n > 0 {
		return nil, fmt.Errorf("%s has more bytes than its tensors", f.Name)
	} else if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	if s.sum() != f.XXH64 { // no tensor is damaged: the rest of the file is
		return nil, fmt.Errorf("%s: the file's checksum is not the one that was written", f.Name)
	}
	return p, nil
}

// stream is what a part holds, decompressed if it is compressed.
type stream struct {
	io.Reader
	part   File
	file   *os.File
	digest *xxhash.Digest
	zstd   *zstd.Decoder // nil: it is not compressed
}

func open(folder string, f File) (*stream, error) {
	path := filepath.Join(folder, f.Name)
	opened, err := file.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing", f.Name)
	} else if err != nil {
		return nil, err
	}
	s := &stream{part: f, file: opened, digest: xxhash.New()}
	info, err := opened.Stat()
	if err == nil && info.Size() != f.Bytes {
		err = fmt.Errorf("%s has %d bytes, and %d were written", f.Name, info.Size(), f.Bytes)
	}
	s.Reader = io.TeeReader(opened, s.digest)
	if err == nil && filepath.Ext(f.Name) == packed {
		if s.zstd, err = zstd.NewReader(s.Reader, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow)); err == nil {
			s.Reader = s.zstd
		}
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stream) close() {
	if s.zstd != nil {
		s.zstd.Close()
	}
	s.file.Close()
}

// sum is the checksum of what was read of the file.
func (s *stream) sum() string { return fmt.Sprintf("%016x", s.digest.Sum64()) }

// skip passes over bytes.
func (s *stream) skip(n int64) error {
	if s.zstd == nil {
		_, err := s.file.Seek(n, io.SeekCurrent)
		return err
	}
	_, err := io.CopyN(io.Discard, s, n)
	return err
}

// header reads the head of the part and returns its tensors, one after the other as the bytes that follow.
func (s *stream) header() ([]Stored, error) {
	var length [8]byte
	if _, err := io.ReadFull(s, length[:]); err != nil {
		return nil, fmt.Errorf("its header: %w", err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n > maxHeader {
		return nil, fmt.Errorf("its header has %d bytes, more than the %d that it may have", n, maxHeader)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(s, text); err != nil {
		return nil, fmt.Errorf("its header: %w", err)
	}
	all, total, err := decodeHeader(text)
	if err != nil {
		return nil, fmt.Errorf("its header: %s", brief(err.Error()))
	}
	room := s.part.Bytes
	if s.zstd != nil {
		room = room*maxRatio + slack
	}
	if size := 8 + int64(n) + total; size > room || s.zstd == nil && size != room {
		return nil, fmt.Errorf("its header tells of %d bytes, which %d bytes of a file cannot be", size, s.part.Bytes)
	}
	return all, nil
}

// located is a tensor as the header of a safetensors file has it.
type located struct {
	DType   string   `json:"dtype"`
	Shape   []uint64 `json:"shape"`
	Offsets []uint64 `json:"data_offsets"` // of its first byte, and behind its last one
}

// decodeHeader decodes the header of a safetensors file, of tensors with their checksums, and lists them in the order of their bytes:
// no two share one, and none is left out. total is how many they are.
func decodeHeader(text []byte) (all []Stored, total int64, err error) {
	var header map[string]json.RawMessage // the library decodes into far more memory than the text has
	if err := json.Unmarshal(text, &header); err != nil {
		return nil, 0, err
	}
	var sums map[string]string
	if text, ok := header["__metadata__"]; ok {
		if err := json.Unmarshal(text, &sums); err != nil {
			return nil, 0, err
		}
		delete(header, "__metadata__")
	}
	first := map[string]uint64{} // byte
	for name, text := range header {
		if len(name) > maxName || name == "" {
			return nil, 0, fmt.Errorf("the name of a tensor has %d bytes: expected 1 to %d", len(name), maxName)
		}
		var t located
		if err := json.Unmarshal(text, &t); err != nil {
			return nil, 0, fmt.Errorf("tensor %q: %w", name, err)
		}
		s := Stored{Name: name, XXH64: sums["xxh64 "+name]}
		if s.Type, err = safetensors.ParseDType(t.DType); err == nil {
			s.Bytes, err = t.bytes(s.Type.Size())
		}
		if err != nil {
			return nil, 0, fmt.Errorf("tensor %q: %w", name, err)
		}
		all, first[name] = append(all, s), t.Offsets[0]
	}
	slices.SortFunc(all, func(a, b Stored) int {
		return cmp.Or(cmp.Compare(first[a.Name], first[b.Name]), cmp.Compare(a.Bytes, b.Bytes), strings.Compare(a.Name, b.Name))
	})
	for _, t := range all {
		if first[t.Name] != uint64(total) {
			return nil, 0, fmt.Errorf("tensor %q begins at byte %d: expected %d", t.Name, first[t.Name], total)
		}
		if total += t.Bytes; total > maxPart {
			return nil, 0, fmt.Errorf("tensor %q ends at byte %d: expected at most %d", t.Name, total, int64(maxPart))
		}
	}
	return all, total, nil
}

// bytes is how many the tensor has by its offsets, and by its shape, of elements of that size.
func (t located) bytes(size uint64) (int64, error) {
	if len(t.Offsets) != 2 || t.Offsets[0] > t.Offsets[1] || t.Offsets[1] > maxPart {
		return 0, fmt.Errorf("data_offsets %v: expected two numbers, the first one not above the second", t.Offsets[:min(len(t.Offsets), 3)])
	}
	for _, n := range t.Shape {
		high, low := bits.Mul64(size, n)
		if size = low; high > 0 {
			size = math.MaxUint64
		}
	}
	if have := t.Offsets[1] - t.Offsets[0]; have != size {
		return 0, fmt.Errorf("it has %d bytes, and its shape %d", have, size)
	}
	return int64(size), nil
}

// brief is the beginning of a long text.
func brief(text string) string {
	const most = 200
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
