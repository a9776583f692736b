// Package packed stores image sets as decoded pictures in a few large files, which are mapped into memory, so that all ranks of a node
// share the page cache and access to any picture is equally fast.
//
//	Write  a set of pictures -> a folder of shards and a manifest
//	Open   that folder -> its pictures
//
// A folder is complete if it has a manifest, which is written last; files are renamed to their names when they are complete. Shards
// finished before an interruption are kept.
//
// A shard, integers little-endian:
//
//	magic, fingerprint                        8 bytes each; the fingerprint identifies the shard's source
//	records                                   one per picture: its bytes, (channels, height, width), or a zstd frame of them
//	index                                     one entry per picture, see entry
//	counts                                    (channels, 256) of 8 bytes: frequency of each byte value, for mean and deviation
//	footer                                    see footer
//
// Preprocessing for training is package data's business.
package packed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"lte/data/limit"
	"lte/data/picture"

	"github.com/cespare/xxhash/v2"
)

const (
	magic        = "LTEPACK1"
	headerBytes  = 16
	entryBytes   = 40
	footerBytes  = 64
	countBytes   = 256 * 8 // per channel
	maxChannels  = 4       // per picture
	manifestName = "manifest.json"
)

// Compression is the format of the pictures in a shard.
type Compression uint32

const (
	Raw  Compression = iota // uncompressed: the fastest to read
	Zstd                    // RFC 8878, one frame per picture
)

var compressions = [...]string{"raw", "zstd"}

func (c Compression) String() string { return compressions[c] }

// ParseCompression returns the compression of that name.
func ParseCompression(name string) (Compression, error) {
	if c := slices.Index(compressions[:], name); c >= 0 {
		return Compression(c), nil
	}
	return 0, fmt.Errorf("compression %q: expected raw or zstd", name)
}

// Description describes a set and its pictures.
type Description struct {
	Name       string   `json:"name"`
	Classes    int      `json:"classes"`
	ClassNames []string `json:"class_names,omitempty"` // nil: unnamed
	Channels   int      `json:"channels"`
	White      int      `json:"white"` // the byte value that represents 1
}

// entry is a picture's entry in the index.
type entry struct {
	offset                  uint64 // bytes
	size                    uint32 // bytes of the record
	label                   uint32
	channels, height, width uint32
	checksum                uint64 // xxHash64 of the record
}

func (e entry) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, e.offset)
	for _, v := range []uint32{e.size, e.label, e.channels, e.height, e.width, 0} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return binary.LittleEndian.AppendUint64(b, e.checksum)
}

func parseEntry(b []byte) (e entry) {
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	return entry{binary.LittleEndian.Uint64(b), word(8), word(12), word(16), word(20), word(24), binary.LittleEndian.Uint64(b[32:])}
}

// footer ends a shard.
type footer struct {
	index       uint64 // offset of the index, bytes
	images      uint64
	skipped     uint64 // unreadable images of the source, which were left out
	channels    uint32
	compression Compression
	checksum    uint64 // xxHash64 of index and counts
}

// append writes the footer, its own checksum and the magic.
func (f footer) append(b []byte) []byte {
	from := len(b)
	for _, v := range []uint64{f.index, f.images, f.skipped} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, f.channels)
	b = binary.LittleEndian.AppendUint32(b, uint32(f.compression))
	b = binary.LittleEndian.AppendUint64(b, f.checksum)
	b = binary.LittleEndian.AppendUint64(b, 0)
	b = binary.LittleEndian.AppendUint64(b, xxhash.Sum64(b[from:]))
	return append(b, magic...)
}

// parseFooter reads the last bytes of a shard of total bytes.
func parseFooter(b []byte, total int) (f footer, err error) {
	if string(b[56:]) != magic {
		return f, fmt.Errorf("at byte %d: found %q, expected %q", total-8, b[56:], magic)
	}
	if got, want := xxhash.Sum64(b[:48]), binary.LittleEndian.Uint64(b[48:]); got != want {
		return f, fmt.Errorf("at byte %d: a footer of checksum %016x, expected %016x", total-footerBytes, got, want)
	}
	f = footer{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:]),
		binary.LittleEndian.Uint32(b[24:]), Compression(binary.LittleEndian.Uint32(b[28:])), binary.LittleEndian.Uint64(b[32:])}
	switch available := uint64(total - headerBytes - footerBytes); {
	case f.channels < 1 || f.channels > maxChannels:
		return f, fmt.Errorf("at byte %d: %d channels, expected 1 to %d", total-footerBytes, f.channels, maxChannels)
	case int(f.compression) >= len(compressions):
		return f, fmt.Errorf("at byte %d: compression %d, expected 0 or 1; a later version of lte may have written it", total-footerBytes, f.compression)
	case f.images > available/entryBytes || f.index < headerBytes || f.index > uint64(total) ||
		f.index+f.images*entryBytes+uint64(f.channels)*countBytes != uint64(total-footerBytes):
		return f, fmt.Errorf("at byte %d: %d images and an index at byte %d do not fit into %d bytes", total-footerBytes, f.images, f.index, total)
	}
	return f, nil
}

// shard is a shard in memory, or mapped.
type shard struct {
	footer
	bytes []byte // all of the shard
}

// parseShard checks everything but the records, which are checked when they are read.
func parseShard(b []byte) (*shard, error) {
	if len(b) < headerBytes+footerBytes {
		return nil, fmt.Errorf("%d bytes, expected %d at least: it ends too early", len(b), headerBytes+footerBytes)
	}
	if string(b[:8]) != magic {
		return nil, fmt.Errorf("begins with %q, expected %q", b[:8], magic)
	}
	f, err := parseFooter(b[len(b)-footerBytes:], len(b))
	if err != nil {
		return nil, err
	}
	s := &shard{f, b}
	if got := xxhash.Sum64(b[f.index : len(b)-footerBytes]); got != f.checksum {
		return nil, fmt.Errorf("at byte %d: an index of checksum %016x, expected %016x", f.index, got, f.checksum)
	}
	for i := range int(f.images) {
		if err := s.check(s.entry(i)); err != nil {
			return nil, fmt.Errorf("at byte %d: picture %d: %w", s.position(i), i, err)
		}
	}
	return s, nil
}

func (s *shard) entry(i int) entry { return parseEntry(s.bytes[s.position(i):]) }

// position is the offset of picture i's entry.
func (s *shard) position(i int) uint64 { return s.index + uint64(i)*entryBytes }

func (s *shard) check(e entry) error {
	// The factors are small enough that their products cannot overflow.
	if e.channels != s.channels || e.height == 0 || e.width == 0 || e.height > limit.Side || e.width > limit.Side || uint64(e.height)*uint64(e.width) > limit.Pixels {
		return fmt.Errorf("%d×%d pixels in %d channels, expected 1 to %d pixels in %d", e.width, e.height, e.channels, limit.Pixels, s.channels)
	}
	if e.offset < headerBytes || e.offset > s.index || uint64(e.size) > s.index-e.offset {
		return fmt.Errorf("%d bytes from byte %d on, expected them before byte %d", e.size, e.offset, s.index)
	}
	if want := e.channels * e.height * e.width; s.compression == Raw && e.size != want {
		return fmt.Errorf("%d bytes, expected %d", e.size, want)
	}
	if most := limit.ImagePixels(int(e.size)); int(e.height*e.width) > most {
		return fmt.Errorf("%d×%d pixels in %d bytes, expected %d pixels at most in so few", e.width, e.height, e.size, most)
	}
	return nil
}

func (s *shard) fingerprint() uint64 { return binary.LittleEndian.Uint64(s.bytes[8:]) }

// counts adds the frequency of each byte value in each channel to sums, (channels, 256). They must add up to the pixels of the shard.
func (s *shard) counts(sums picture.Counts) error {
	pixels := uint64(0) // below 2^64: each entry has at most 2^27 and takes 40 bytes of the file
	for i := range int(s.images) {
		e := s.entry(i)
		pixels += uint64(e.height) * uint64(e.width)
	}
	at := s.index + s.images*entryBytes
	for c := range sums {
		left := pixels
		for v := range sums[c] {
			n := binary.LittleEndian.Uint64(s.bytes[at:])
			if n > left || v == len(sums[c])-1 && n != left {
				return fmt.Errorf("at byte %d: counts that do not add up to the %d pixels", at, pixels)
			}
			left -= n
			sums[c][v] += int64(n)
			at += 8
		}
	}
	return nil
}

var errNoSet = errors.New("expected a packed set: pack it again with lte data pack")
