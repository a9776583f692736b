package packed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"lte/data/limit"
	"lte/data/picture"
	"lte/internal/file"
	"lte/internal/quote"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// Pictures are what is packed: indexed, labelled, safe for concurrent use. The error of a picture names its file.
type Pictures interface {
	Len() int
	Label(i int) int
	Picture(dst *picture.Picture, i int) error
}

// Source is a set to pack.
type Source struct {
	Name        string
	Classes     int
	ClassNames  []string // nil: they have none
	Channels    int
	White       int // the byte of a picture that stands for 1
	Train, Test Pictures
}

// Options say how it is packed.
type Options struct {
	Size        int            // pixels: what the shorter side of a larger picture is resized to; 0: pictures stay as they are
	Filter      picture.Filter // for that
	Compression Compression
	Shard       int  // pictures of a shard
	Skip        bool // leave out pictures that cannot be read
	Workers     int  // goroutines that decode at once; 0: as many as there are cores

	// Progress, if not nil, is told how many more images are done; kept says that a shard was there already.
	Progress func(images int, kept bool)
}

// Unreadable is the pictures that could not be read.
type Unreadable []error

// Error says how many they are, and of the first ones which and why, a line each.
func (u Unreadable) Error() string { return errors.Join(u.Unwrap()...).Error() }

// Unwrap returns the lines of Error: what they quote of names is printable.
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

// Write packs a set into a folder, which it makes. It goes on where an interrupted Write of the same set with the same
// options stood. Pictures that cannot be read are returned as Unreadable, in order: with Skip the set is whole without
// them; else it has no manifest yet, and packing again does only what is missing.
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
	m := manifest{Format: magic, Name: src.Name, Classes: src.Classes, ClassNames: src.ClassNames, Channels: src.Channels,
		White: src.White, Size: o.Size, Compression: o.Compression.String(), Splits: map[string][]listing{}}
	if err := m.fits(src, o.Shard); err != nil {
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

// lock keeps others from packing into the folder at the same time.
func lock(folder string) (unlock func(), err error) {
	f, err := os.OpenFile(folder, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: another process packs into it: wait for it, or choose another folder (%w)", folder, err)
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

// write makes the shards one after the other; the pictures are decoded ahead of it by all workers.
func (w *writer) write() error {
	var missing []int // shards that are to be written
	n := (w.of.Len() + w.o.Shard - 1) / w.o.Shard
	w.shards = make([]listing, n)
	for k := range n {
		if !w.kept(k) {
			missing = append(missing, k)
		}
	}
	ahead := 4 * w.o.Workers
	work, order, quit := make(chan *item, ahead), make(chan *item, ahead), make(chan struct{})
	room := make(chan *item, 2*ahead+w.o.Workers)
	for range cap(room) {
		room <- &item{done: make(chan struct{}, 1)}
	}
	var workers sync.WaitGroup
	for range w.o.Workers {
		workers.Go(func() {
			p := newPacker(w.of, w.o)
			for it := range work {
				p.pack(it)
				it.done <- struct{}{}
			}
		})
	}
	go func() {
		defer close(work)
		defer close(order)
		for _, k := range missing {
			from, to := w.images(k)
			for i := from; i < to; i++ {
				select {
				case it := <-room:
					it.i = i
					work <- it
					order <- it
				case <-quit:
					return
				}
			}
		}
	}()
	defer workers.Wait()
	defer func() {
		close(quit)
		for range order { // what is under way
		}
	}()
	for _, k := range missing {
		if err := w.shard(k, order, room); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) file(k int) string { return fmt.Sprintf("%s-%05d.lte", w.split, k) }

// images are those of shard k: from, up to but not including to.
func (w *writer) images(k int) (from, to int) {
	return k * w.o.Shard, min((k+1)*w.o.Shard, w.of.Len())
}

// kept says whether shard k is there, and notes it.
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

// fingerprint is of what shard k is made from: another set, order of labels or option makes another.
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

// shard writes shard k of the items that come in order. Where pictures could not be read and are not to be left out, the
// file is dropped.
func (w *writer) shard(k int, order <-chan *item, room chan<- *item) error {
	name := filepath.Join(w.folder, w.file(k))
	from, to := w.images(k)
	found := len(w.bad)
	err := file.Write(name, func(f io.Writer) error {
		b := newBuilder(f, w.src.Channels, w.fingerprint(k), w.o.Compression)
		for range to - from {
			it := <-order
			<-it.done
			switch {
			case it.err != nil:
				w.bad = append(w.bad, it.err)
				b.skipped++
			default:
				b.add(it)
			}
			room <- it
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
	s, err := mapShard(name) // as a reader will find it
	if err != nil {
		return fmt.Errorf("%s: as it was just written: %w", name, err)
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
	err     error // the first
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

// write keeps an error for finish.
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

// packer makes records of pictures; it belongs to one goroutine.
type packer struct {
	of      Pictures
	o       Options
	resizer picture.Resizer
	decoded picture.Picture
	encoder *zstd.Encoder // nil: none
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

// pack decodes a picture, resizes it and makes its record.
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
	all := picture.Whole(p.decoded.Height, p.decoded.Width)
	p.resizer.Resize(&it.pic, &p.decoded, picture.Plan{Box: all, Height: height, Width: width, Part: picture.Whole(height, width)}, p.o.Filter)
	return nil
}
