package packed

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"sort"
	"sync/atomic"

	"lte/data/limit"
	"lte/data/picture"
	"lte/internal/file"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// Set is an open packed set. It stays open until the process ends.
type Set struct {
	Description
	Mean, Std   []float32 // (channels), of the training split's pixels in 0..1; Std is never 0
	Train, Test *Images
}

// Is reports whether a folder holds a packed set.
func Is(folder string) bool {
	info, err := os.Stat(filepath.Join(folder, manifestName))
	return err == nil && info.Mode().IsRegular()
}

// Open maps a set written by Write. Errors say which file, where in it, and what was expected there.
func Open(folder string) (*Set, error) {
	m, err := readManifest(folder)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; %w", filepath.Join(folder, manifestName), err, errNoSet)
	}
	s := &Set{Description: m.Description, Train: &Images{}, Test: &Images{}}
	counts := make(picture.Counts, m.Channels)
	for _, split := range []struct {
		name   string
		images *Images
	}{{"train", s.Train}, {"test", s.Test}} {
		for _, l := range m.Splits[split.name] {
			file := filepath.Join(folder, l.File)
			shard, err := m.open(file, l)
			if err == nil && split.images == s.Train {
				err = shard.counts(counts)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w; copy it again, or remove it and pack again", file, err)
			}
			split.images.add(file, shard)
		}
		if split.images.Len() == 0 {
			return nil, fmt.Errorf("%s: no images in split %s; %w", filepath.Join(folder, manifestName), split.name, errNoSet)
		}
	}
	s.Mean, s.Std = counts.Measures(m.White)
	return s, s.check()
}

// check compares the test with the training pictures: unreadable pictures, which were left out, may have been all of a class.
func (s *Set) check() error {
	inTraining := make([]bool, s.Classes)
	for i := range s.Train.Len() {
		inTraining[s.Train.Label(i)] = true
	}
	for i := range s.Test.Len() {
		if l := s.Test.Label(i); !inTraining[l] {
			shard, file, j := s.Test.at(i)
			return fmt.Errorf("%s: at byte %d: picture %d: label %d, which no training picture has: repair the unreadable images, and pack again",
				file, shard.position(j), j, l)
		}
	}
	return nil
}

// open maps a shard and checks it against the manifest.
func (m *manifest) open(file string, l listing) (*shard, error) {
	if filepath.Base(l.File) != l.File {
		return nil, errors.New("expected the name of a file in the folder of the manifest")
	}
	s, err := mapShard(file)
	if err != nil {
		return nil, err
	}
	if got := listed(l.File, s); got != l {
		return nil, fmt.Errorf("%d images in %d bytes, index %s, expected %d in %d, %s, as %s says", got.Images, got.Bytes, got.Checksum,
			l.Images, l.Bytes, l.Checksum, manifestName)
	}
	if int(s.channels) != m.Channels {
		return nil, fmt.Errorf("%d channels, expected %d", s.channels, m.Channels)
	}
	for i := range int(s.images) {
		if label := s.entry(i).label; int64(label) >= int64(m.Classes) {
			return nil, fmt.Errorf("at byte %d: picture %d: label %d, expected 0..%d", s.position(i), i, label, m.Classes-1)
		}
	}
	return s, nil
}

func listed(name string, s *shard) listing {
	return listing{name, int(s.images), int64(len(s.bytes)), fmt.Sprintf("%016x", s.checksum)}
}

// mapShard maps a file permanently.
func mapShard(name string) (*shard, error) {
	f, err := file.Open(name)
	if err != nil {
		return nil, file.Cause(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if n := info.Size(); n < headerBytes+footerBytes || n > math.MaxInt {
		return nil, fmt.Errorf("%d bytes, expected %d at least: it ends too early", n, headerBytes+footerBytes)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping it into memory: %w", err)
	}
	s, err := parseShard(b)
	if err != nil {
		_ = unix.Munmap(b) // err is more informative
	}
	return s, err
}

// Images are the pictures of one split. They are safe for concurrent use.
type Images struct {
	files    []string
	shards   []*shard
	first    []int           // (shards), index of each shard's first picture
	verified []atomic.Uint32 // (images/32, rounded up), a bit per picture whose checksum was verified
	n        int
}

func (m *Images) add(file string, s *shard) {
	m.files, m.shards, m.first = append(m.files, file), append(m.shards, s), append(m.first, m.n)
	m.n += int(s.images)
	m.verified = make([]atomic.Uint32, (m.n+31)/32)
}

// at returns the shard of picture i, its file, and the picture's index in it.
func (m *Images) at(i int) (*shard, string, int) {
	k := sort.SearchInts(m.first, i+1) - 1
	return m.shards[k], m.files[k], i - m.first[k]
}

// Len returns the number of pictures.
func (m *Images) Len() int { return m.n }

// Label returns the class of picture i.
func (m *Images) Label(i int) int {
	s, _, j := m.at(i)
	return int(s.entry(j).label)
}

// Size returns the size of picture i.
func (m *Images) Size(i int) (height, width int) {
	s, _, j := m.at(i)
	e := s.entry(j)
	return int(e.height), int(e.width)
}

// Picture makes dst picture i: an uncompressed one by lending it the mapped file. Its checksum is verified the first time.
func (m *Images) Picture(dst *picture.Picture, i int) error {
	s, file, j := m.at(i)
	e := s.entry(j)
	sum := m.verified[i/32].Load()&(1<<(i%32)) == 0
	if err := s.picture(dst, e, sum); err != nil {
		return fmt.Errorf("%s: picture %d, at byte %d: %w; copy it again, or remove it and pack again", file, j, e.offset, err)
	}
	if sum {
		m.verified[i/32].Or(1 << (i % 32))
	}
	return nil
}

func (s *shard) picture(dst *picture.Picture, e entry, sum bool) (err error) {
	record := s.bytes[e.offset : e.offset+uint64(e.size)]
	if sum {
		got, err := checksum(record)
		if err != nil {
			return err
		}
		if got != e.checksum {
			return fmt.Errorf("checksum %016x, expected %016x", got, e.checksum)
		}
	}
	channels, height, width := int(e.channels), int(e.height), int(e.width)
	if s.compression == Raw {
		dst.Lend(channels, height, width, record)
		return nil
	}
	dst.Reset(channels, height, width)
	pixels, err := decoder.DecodeAll(record, dst.Pix[:0:len(dst.Pix)])
	if err != nil {
		return fmt.Errorf("expected zstd: %w", err)
	}
	if len(pixels) != len(dst.Pix) {
		return fmt.Errorf("%d bytes, unpacked, expected %d", len(pixels), len(dst.Pix))
	}
	return nil
}

// checksum reads a mapped record. A truncated file or a disk failure is an error instead of a fatal signal.
func checksum(record []byte) (sum uint64, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("it cannot be read: %v", cause)
		}
	}()
	return xxhash.Sum64(record), nil
}

// decoder decompresses pictures into the memory passed to it; DecodeAll is safe for concurrent use.
var decoder = func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxChannels*limit.Pixels), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic("packed: a zstd decoder without options that can fail")
	}
	return d
}()
