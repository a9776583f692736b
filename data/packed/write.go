package packed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"lte/data/limit"
	"lte/data/picture"
	"lte/internal/file"
	"lte/internal/quote"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// Pictures are the images to pack: indexed, labelled, safe for concurrent use. The error of a picture names its file.
type Pictures interface {
	Len() int
	Label(i int) int
	Picture(dst *picture.Picture, i int) error
}

// Source is a set to pack.
type Source struct {
	Description
	Train, Test Pictures
}

// Options are the options of packing.
type Options struct {
	Size        int            // pixels: larger pictures are resized to this shorter side; 0: no resizing
	Filter      picture.Filter // of the resizing
	Compression Compression
	Shard       int  // pictures per shard
	Skip        bool // leave out unreadable pictures
	Workers     int  // goroutines that decode; 0: one per core

	// Progress, if not nil, is called with the number of further images done; kept means that their shard existed already.
	Progress func(images int, kept bool)
}

// Unreadable lists the errors of unreadable pictures.
type Unreadable []error

// Error returns their number and the first ones, one per line.
func (u Unreadable) Error() string { return errors.Join(u.Unwrap()...).Error() }

// Unwrap returns the lines of Error, with unprintable characters of names quoted.
func (u Unreadable) Unwrap() []error {
	const most = 20
	lines := []error{fmt.Errorf("%d images could not be read", len(u))}
	for _, err := range u[:min(most, len(u))] {
		lines = append(lines, errors.New("  "+quote.Text(err.Error())))
	}
	if len(u) > most {
		lines = append(lines, fmt.Errorf("  and %d more", len(u)-most))
	}
	return lines
}

// Write packs a set into a folder, which it creates. It continues an interrupted Write of the same set with the same options. Unreadable
// pictures are returned in order: with Skip the set is complete without them, otherwise it has no manifest yet, and packing again does
// only what is missing.
func Write(folder string, src Source, o Options) (bad Unreadable, err error) {
	if o.Shard < 1 {
		panic("packed: shards without pictures")
	}
	if o.Workers < 1 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return nil, err
	}
	unlock, err := lock(folder)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := prepare(folder); err != nil {
		return nil, err
	}
	m := manifest{Format: magic, Description: src.Description, Size: o.Size, Compression: o.Compression.String(), Splits: map[string][]listing{}}
	if err := m.checkSize(src, o.Shard); err != nil {
		return nil, err
	}
	for _, split := range []struct {
		name string
		of   Pictures
	}{{"train", src.Train}, {"test", src.Test}} {
		w := &writer{folder: folder, split: split.name, src: src, of: split.of, o: o}
		if err := w.write(); err != nil {
			return w.bad, err
		}
		m.Splits[split.name] = w.shards
		m.Skipped += w.skipped
		bad = append(bad, w.bad...)
	}
	if len(bad) > 0 && !o.Skip {
		return bad, nil
	}
	return bad, m.write(folder)
}

// lock keeps other processes from packing into the folder at the same time.
func lock(folder string) (unlock func(), err error) {
	f, err := os.OpenFile(folder, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: another process is packing into it: wait until it ends, or choose another folder (%w)", folder, err)
	}
	return func() { f.Close() }, nil
}

// writer packs one split.
type writer struct {
	folder, split string
	src           Source
	of            Pictures
	o             Options

	shards  []listing
	skipped int
	bad     Unreadable
}

// item is one picture on its way into a shard.
type item struct {
	i     int // of the split
	done  chan struct{}
	entry entry
	bytes []byte // the record
	pic   picture.Picture
	err   error
}

// write writes the shards one after the other; the pictures are decoded ahead on several goroutines.
func (w *writer) write() error {
	var missing []int // shards to write
	n := (w.of.Len() + w.o.Shard - 1) / w.o.Shard
	w.shards = make([]listing, n)
	for k := range n {
		if !w.kept(k) {
			missing = append(missing, k)
		}
	}
	packers, free := make(chan *packer, w.o.Workers), make(chan *item, 9*w.o.Workers)
	for range cap(packers) {
		packers <- newPacker(w.of, w.o)
	}
	for range cap(free) {
		free <- &item{done: make(chan struct{}, 1)}
	}
	order, quit := make(chan *item, cap(free)), make(chan struct{}) // order never blocks
	go func() {
		defer close(order)
		for _, k := range missing {
			from, to := w.images(k)
			for i := from; i < to; i++ {
				select {
				case it := <-free:
					it.i = i
					order <- it
					p := <-packers
					go func() {
						p.pack(it)
						packers <- p
						it.done <- struct{}{}
					}()
				case <-quit:
					return
				}
			}
		}
	}()
	defer func() { // until no goroutine is left
		close(quit)
		for range order {
		}
		for range cap(packers) {
			<-packers
		}
	}()
	for _, k := range missing {
		if err := w.shard(k, order, free); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) file(k int) string { return fmt.Sprintf("%s-%05d.lte", w.split, k) }

// images returns the range of images of shard k, [from, to).
func (w *writer) images(k int) (from, to int) {
	return k * w.o.Shard, min((k+1)*w.o.Shard, w.of.Len())
}

// kept reports whether shard k exists already, and adds it to the shards.
func (w *writer) kept(k int) bool {
	s, err := mapShard(filepath.Join(w.folder, w.file(k)))
	if err != nil {
		return false
	}
	defer unix.Munmap(s.bytes)
	from, to := w.images(k)
	if s.fingerprint() != w.fingerprint(k) || int(s.images+s.skipped) != to-from || s.skipped > 0 && !w.o.Skip {
		return false
	}
	w.shards[k] = listed(w.file(k), s)
	w.skipped += int(s.skipped)
	w.progress(to-from, true)
	return true
}

func (w *writer) progress(images int, kept bool) {
	if w.o.Progress != nil {
		w.o.Progress(images, kept)
	}
}

// fingerprint identifies the source of shard k: another set, order of labels or option gives another one.
func (w *writer) fingerprint(k int) uint64 {
	d := xxhash.New()
	fmt.Fprintln(d, w.src.Name, w.src.Classes, w.src.ClassNames, w.src.Channels, w.src.White, w.split, w.of.Len(), k,
		w.o.Size, w.o.Filter, w.o.Compression, w.o.Shard)
	from, to := w.images(k)
	for i := from; i < to; i++ {
		fmt.Fprintln(d, w.of.Label(i))
	}
	return d.Sum64()
}

// shard writes shard k from the items in order. With unreadable pictures that are not to be skipped, the file is dropped.
func (w *writer) shard(k int, order <-chan *item, free chan<- *item) error {
	name := filepath.Join(w.folder, w.file(k))
	from, to := w.images(k)
	found := len(w.bad)
	err := file.Write(name, func(f io.Writer) error {
		b := newBuilder(f, w.src.Channels, w.fingerprint(k), w.o.Compression)
		for range to - from {
			it := <-order
			<-it.done
			if it.err != nil {
				w.bad = append(w.bad, it.err)
				b.skipped++
			} else {
				b.add(it)
			}
			free <- it
			w.progress(1, false)
		}
		if len(w.bad) > found && !w.o.Skip {
			return errDropped
		}
		w.skipped += int(b.skipped)
		return b.finish()
	})
	if errors.Is(err, errDropped) {
		return nil
	}
	if err != nil {
		return err
	}
	s, err := mapShard(name) // as a reader will see it
	if err != nil {
		return fmt.Errorf("%s: just written: %w", name, err)
	}
	defer unix.Munmap(s.bytes)
	w.shards[k] = listed(w.file(k), s)
	return nil
}

var errDropped = errors.New("a shard with pictures that cannot be read")

// builder writes one shard.
type builder struct {
	footer
	to      io.Writer
	err     error // the first one
	at      uint64
	entries []byte
	counts  picture.Counts
}

func newBuilder(to io.Writer, channels int, fingerprint uint64, c Compression) *builder {
	b := &builder{to: to, counts: make(picture.Counts, channels)}
	b.channels, b.footer.compression = uint32(channels), c
	b.write(binary.LittleEndian.AppendUint64([]byte(magic), fingerprint))
	return b
}

// write keeps the first error for finish.
func (b *builder) write(p []byte) {
	if b.err == nil {
		_, b.err = b.to.Write(p)
	}
	b.at += uint64(len(p))
}

func (b *builder) add(it *item) {
	e := it.entry
	e.offset = b.at
	b.entries = e.append(b.entries)
	b.images++
	b.counts.Add(&it.pic)
	b.write(it.bytes)
}

func (b *builder) finish() error {
	b.index = b.at
	index := b.entries
	for c := range b.counts {
		for _, n := range b.counts[c] {
			index = binary.LittleEndian.AppendUint64(index, uint64(n))
		}
	}
	b.checksum = xxhash.Sum64(index)
	b.write(b.footer.append(index))
	return b.err
}

// packer makes records of pictures, on one goroutine at a time.
type packer struct {
	of      Pictures
	o       Options
	resizer picture.Resizer
	decoded picture.Picture
	encoder *zstd.Encoder // nil: no compression
}

func newPacker(of Pictures, o Options) *packer {
	p := &packer{of: of, o: o}
	if o.Compression == Zstd {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
		if err != nil {
			panic("packed: a zstd encoder without options that can fail")
		}
		p.encoder = e
	}
	return p
}

// pack decodes and resizes a picture and makes its record.
func (p *packer) pack(it *item) {
	it.err = p.decode(it)
	if it.err != nil {
		return
	}
	it.bytes = it.pic.Pix
	if p.encoder != nil {
		it.bytes = p.encoder.EncodeAll(it.pic.Pix, it.bytes[:0:0])
	}
	if h, w := it.pic.Height, it.pic.Width; h*w > limit.ImagePixels(len(it.bytes)) {
		it.err = fmt.Errorf("image %d: %d×%d pixels of nearly one colour, too many to be compressed: pack with --compression raw, or a smaller --size", it.i, w, h)
		return
	}
	it.entry = entry{size: uint32(len(it.bytes)), label: uint32(p.of.Label(it.i)), channels: uint32(it.pic.Channels),
		height: uint32(it.pic.Height), width: uint32(it.pic.Width), checksum: xxhash.Sum64(it.bytes)}
}

func (p *packer) decode(it *item) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("image %d: decoding it: %v", it.i, cause)
		}
	}()
	if err := p.of.Picture(&p.decoded, it.i); err != nil {
		return err
	}
	height, width := p.decoded.Height, p.decoded.Width
	if short := min(height, width); p.o.Size > 0 && short > p.o.Size {
		height, width = max(p.o.Size, height*p.o.Size/short), max(p.o.Size, width*p.o.Size/short)
	}
	if height > limit.Side || width > limit.Side || height > limit.Pixels/width {
		return fmt.Errorf("image %d: %d×%d pixels, expected %d at most, and a side of %d at most", it.i, width, height, limit.Pixels, limit.Side)
	}
	p.resizer.Resize(&it.pic, &p.decoded, picture.Uncropped(picture.Full(p.decoded.Height, p.decoded.Width), height, width), p.o.Filter)
	return nil
}
