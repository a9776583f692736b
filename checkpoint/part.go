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

// Limits of a part; this program writes none beyond them.
const (
	maxPart   = 1 << 48  // bytes
	maxHeader = 16 << 20 // bytes; enough for some 60,000 tensors
	maxName   = 1000     // bytes, of a tensor's name
	maxWindow = 64 << 20 // bytes, of zstd
	maxRatio  = 4096     // of decompressed to compressed bytes,
	slack     = 16 << 20 // plus so many bytes: state of zeros compresses to almost nothing
)

// Stored is a tensor in a part.
type Stored struct {
	Name  string
	Type  safetensors.DType
	Bytes int64
	XXH64 string
}

// Part is a file of tensors whose checksums were verified. It holds no values: they are read again, into the memory that they are restored
// to.
type Part struct {
	folder string
	file   File
	all    []Stored // in the order of the file
	byName map[string]Stored
}

// Tensors returns all tensors in the order of the file.
func (p *Part) Tensors() []Stored { return p.all }

// Restore reads the part into the memory of tensors. The part must hold these and no others; otherwise nothing is read.
func (p *Part) Restore(tensors []Tensor) error {
	have, missing, err := p.match(tensors)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s has no tensor %q, which this run needs", p.file.Name, missing[0].Name)
	}
	for _, t := range p.all {
		if !slices.ContainsFunc(have, func(h Tensor) bool { return h.Name == t.Name }) {
			return fmt.Errorf("%s has a tensor %q, which this run does not know", p.file.Name, t.Name)
		}
	}
	return p.read(have)
}

// RestorePartial reads those of tensors that the part has, and returns the others.
func (p *Part) RestorePartial(tensors []Tensor) (missing []Tensor, err error) {
	have, missing, err := p.match(tensors)
	if err != nil || have == nil {
		return missing, err
	}
	return missing, p.read(have)
}

// match separates tensors into those that the part has, which must be of the same type and length, and the others.
func (p *Part) match(tensors []Tensor) (have, missing []Tensor, err error) {
	for _, t := range tensors {
		stored, ok := p.byName[t.Name]
		switch {
		case !ok:
			missing = append(missing, t)
		case stored.Type != t.Type || stored.Bytes != int64(len(t.Bytes)):
			return nil, nil, fmt.Errorf("%s: tensor %q has %d bytes of %s, and this run's %d of %s", p.file.Name, t.Name, stored.Bytes, stored.Type, len(t.Bytes), t.Type)
		default:
			have = append(have, t)
		}
	}
	return have, missing, nil
}

// read reads tensors that match returned.
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

// readPart verifies a part's size and checksums, in memory that does not grow with the part.
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
		if hexadecimal(digest.Sum64()) != t.XXH64 {
			return nil, damaged(f.Name, t.Name)
		}
		p.byName[t.Name] = t
	}
	if n, err := io.ReadFull(s, buffer[:1]); n > 0 {
		return nil, fmt.Errorf("%s has more bytes than its tensors", f.Name)
	} else if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	if hexadecimal(s.digest.Sum64()) != f.XXH64 { // only bytes outside the tensors differ
		return nil, fmt.Errorf("%s: the file's checksum is not the one that was written", f.Name)
	}
	return p, nil
}

// stream reads a part, decompressing if necessary.
type stream struct {
	io.Reader
	part   File
	file   *os.File
	digest *xxhash.Digest
	zstd   *zstd.Decoder // nil: not compressed
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
	if err == nil && filepath.Ext(f.Name) == zstdSuffix {
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

// skip skips n bytes.
func (s *stream) skip(n int64) error {
	if s.zstd == nil {
		_, err := s.file.Seek(n, io.SeekCurrent)
		return err
	}
	_, err := io.CopyN(io.Discard, s, n)
	return err
}

// header reads the header of the part and returns its tensors in the order of their bytes.
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
	most := s.part.Bytes
	if s.zstd != nil {
		most = most*maxRatio + slack
	}
	if size := 8 + int64(n) + total; size > most || s.zstd == nil && size != most {
		return nil, fmt.Errorf("its header lists %d bytes, which do not fit into a file of %d", size, s.part.Bytes)
	}
	return all, nil
}

// located is a tensor in the header of a safetensors file.
type located struct {
	DType   string   `json:"dtype"`
	Shape   []uint64 `json:"shape"`
	Offsets []uint64 `json:"data_offsets"` // of its first byte, and after its last
}

// decodeHeader decodes the header of a safetensors file and lists its tensors, with their checksums, in the order of their bytes. Tensors
// must not overlap or leave gaps. total is their number of bytes.
func decodeHeader(text []byte) (all []Stored, total int64, err error) {
	var header map[string]json.RawMessage // the safetensors library needs far more memory than the text
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

// bytes returns the length of the tensor, on which its offsets and its shape, of elements of that size, must agree.
func (t located) bytes(size uint64) (int64, error) {
	if len(t.Offsets) != 2 || t.Offsets[0] > t.Offsets[1] || t.Offsets[1] > maxPart {
		return 0, fmt.Errorf("data_offsets %v: expected two offsets, the first not above the second", t.Offsets[:min(len(t.Offsets), 3)])
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

// brief truncates a long text.
func brief(text string) string {
	const most = 200
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
