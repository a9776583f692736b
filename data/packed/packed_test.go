package packed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"lte/data/picture"

	"github.com/cespare/xxhash/v2"
)

// album is a collection of pictures of many sizes, some of which cannot be read.
type album struct {
	pictures []picture.Picture
	broken   map[int]bool
	reads    *int // nil: not counted
	mutex    *sync.Mutex
}

func newAlbum(n int) album {
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	a := album{pictures: make([]picture.Picture, n), broken: map[int]bool{}, reads: new(int), mutex: &sync.Mutex{}}
	for i := range a.pictures {
		p := &a.pictures[i]
		p.Reset(3, 1+rng.IntN(40), 1+rng.IntN(40))
		for j := range p.Pix {
			p.Pix[j] = uint8(rng.Uint32() / uint32(1+i%3))
		}
	}
	return a
}

func (a album) Len() int        { return len(a.pictures) }
func (a album) Label(i int) int { return i % 7 }
func (a album) Picture(dst *picture.Picture, i int) error {
	a.mutex.Lock()
	*a.reads++
	a.mutex.Unlock()
	if a.broken[i] {
		return fmt.Errorf("pets/%d.jpg: broken", i)
	}
	p := a.pictures[i]
	dst.Lend(p.Channels, p.Height, p.Width, p.Pix)
	return nil
}

// relabelled is an album with other labels.
type relabelled struct{ album }

func (r relabelled) Label(i int) int { return (r.album.Label(i) + 1) % 7 }

func source(train, test int) Source {
	return Source{Description: Description{Name: "pets", Classes: 7, ClassNames: strings.Split("abcdefg", ""), Channels: 3, White: 255},
		Train: newAlbum(train), Test: newAlbum(test)}
}

func must[T any](x T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
}

// same expects a split to have the pictures of an album except those left out.
func same(t *testing.T, got *Images, want album, without ...int) {
	t.Helper()
	at := 0
	var p picture.Picture
	for i := range want.pictures {
		if slices.Contains(without, i) {
			continue
		}
		if err := got.Picture(&p, at); err != nil {
			t.Fatal(err)
		}
		w := &want.pictures[i]
		if p.Channels != w.Channels || p.Height != w.Height || p.Width != w.Width || !slices.Equal(p.Pix, w.Pix) || got.Label(at) != want.Label(i) {
			t.Fatalf("picture %d, from %d, is another", at, i)
		}
		at++
	}
	if got.Len() != at {
		t.Fatalf("%d pictures, want %d", got.Len(), at)
	}
}

// Open returns what was written. Fails if pictures decoded by several goroutines are out of order, if a shard's end is omitted, if a picture
// has another one's shape or label, or if mean and deviation are of another split or channel.
func TestRoundTrip(t *testing.T) {
	for _, c := range []Compression{Raw, Zstd} {
		for _, shard := range []int{1, 10, 1000} {
			src, folder := source(53, 12), filepath.Join(t.TempDir(), "set")
			done := 0
			bad, err := Write(folder, src, Options{Shard: shard, Compression: c, Workers: 3, Progress: func(n int, kept bool) { done += n }})
			if err != nil || bad != nil || done != 65 {
				t.Fatal(bad, err, done)
			}
			s := must(Open(folder))(t)
			same(t, s.Train, src.Train.(album))
			same(t, s.Test, src.Test.(album))
			if s.Name != "pets" || s.Classes != 7 || !slices.Equal(s.ClassNames, src.ClassNames) || s.White != 255 || s.Channels != 3 {
				t.Errorf("%+v", s)
			}
			counts := make(picture.Counts, 3)
			for i := range src.Train.(album).pictures {
				counts.Add(&src.Train.(album).pictures[i])
			}
			mean, std := counts.Measures(255)
			if !slices.Equal(s.Mean, mean) || !slices.Equal(s.Std, std) {
				t.Errorf("measures %v %v, want %v %v", s.Mean, s.Std, mean, std)
			}
		}
	}
}

// Fails if a picture is enlarged, if the longer side gets that size, or if the pixels are not the resizer's.
func TestSize(t *testing.T) {
	src, folder := source(40, 1), t.TempDir()
	must(Write(folder, src, Options{Size: 16, Shard: 100}))(t)
	s := must(Open(folder))(t)
	var got, want picture.Picture
	var r picture.Resizer
	smaller := 0
	for i, p := range src.Train.(album).pictures {
		if err := s.Train.Picture(&got, i); err != nil {
			t.Fatal(err)
		}
		h, w := p.Height, p.Width
		if short := min(h, w); short > 16 {
			smaller++
			h, w = h*16/short, w*16/short
		}
		r.Resize(&want, &p, picture.Plan{Box: picture.Full(p.Height, p.Width), Height: h, Width: w, Crop: picture.Full(h, w)}, picture.Bicubic)
		if got.Height != h || got.Width != w || !slices.Equal(got.Pix, want.Pix) {
			t.Fatalf("%d×%d became %d×%d, want %d×%d", p.Width, p.Height, got.Width, got.Height, w, h)
		}
	}
	if smaller < 5 {
		t.Error("too few large pictures to show anything")
	}
}

var errStop = errors.New("stop")

// An interrupted Write is continued. Fails if a complete shard is written again, if one of other labels or options is kept, if an
// incomplete shard gets its final name, or a folder without all shards a manifest.
func TestResume(t *testing.T) {
	src, folder := source(50, 10), t.TempDir()
	reads := src.Train.(album).reads
	func() {
		defer func() {
			if recover() != errStop {
				t.Error("not interrupted")
			}
		}()
		left := 35
		_, _ = Write(folder, src, Options{Shard: 10, Workers: 2, Progress: func(n int, kept bool) {
			if left -= n; left < 0 {
				panic(errStop)
			}
		}})
	}()
	if Is(folder) {
		t.Fatal("a manifest before all shards are there")
	}
	files := must(filepath.Glob(filepath.Join(folder, "*.lte")))(t)
	if len(files) != 3 {
		t.Fatalf("finished shards: %v", files)
	}
	*reads = 0
	kept := 0
	o := Options{Shard: 10, Workers: 2, Progress: func(n int, was bool) {
		if was {
			kept += n
		}
	}}
	must(Write(folder, src, o))(t)
	if *reads != 20 || kept != 30 {
		t.Errorf("%d pictures read, %d kept, want 20 and 30", *reads, kept)
	}
	same(t, must(Open(folder))(t).Train, src.Train.(album))

	for name, again := range map[string]func() (Unreadable, error){
		"another name": func() (Unreadable, error) { x := src; x.Name = "others"; return Write(folder, x, o) },
		"another size": func() (Unreadable, error) { x := o; x.Size = 5; return Write(folder, src, x) },
		"other labels": func() (Unreadable, error) {
			x := src
			x.Train, x.Test = relabelled{src.Train.(album)}, relabelled{src.Test.(album)}
			return Write(folder, x, o)
		},
		"other classes": func() (Unreadable, error) { x := src; x.ClassNames = nil; return Write(folder, x, o) },
	} {
		kept = 0
		must(again())(t)
		if kept != 0 {
			t.Errorf("%s: %d pictures kept", name, kept)
		}
	}
	if left := must(filepath.Glob(filepath.Join(folder, "*.tmp")))(t); left != nil {
		t.Errorf("left: %v", left)
	}
}

// Fails if an unreadable picture is silently omitted, if the set becomes complete without Skip, if the others are packed twice, or if labels
// shift where one is left out.
func TestUnreadable(t *testing.T) {
	src, folder := source(30, 5), t.TempDir()
	train := src.Train.(album)
	train.broken[3], train.broken[17] = true, true
	bad, err := Write(folder, src, Options{Shard: 10})
	if err != nil || len(bad) != 2 || !strings.Contains(bad.Error(), "2 images could not be read\n  pets/3.jpg: broken\n  pets/17.jpg") || Is(folder) {
		t.Fatal(bad, err, Is(folder))
	}
	*train.reads = 0
	bad, err = Write(folder, src, Options{Shard: 10, Skip: true})
	if err != nil || len(bad) != 2 || *train.reads != 20 {
		t.Fatal(bad, err, *train.reads)
	}
	same(t, must(Open(folder))(t).Train, train, 3, 17)
	must(Write(folder, src, Options{Shard: 10, Skip: true}))(t)
	if m := must(readManifest(folder))(t); m.Skipped != 2 {
		t.Errorf("packed again, the manifest says that %d are left out", m.Skipped)
	}
	clear(train.broken) // mended: the shards without them are made again
	if bad, err = Write(folder, src, Options{Shard: 10}); err != nil || bad != nil {
		t.Fatal(bad, err)
	}
	same(t, must(Open(folder))(t).Train, train)
}

// A change of any byte, a truncation at any byte and a missing file are errors of Open or Picture that name the file and the position. Fails
// if a checksum does not cover a part of a shard, or is not compared.
func TestDamageIsDetected(t *testing.T) {
	src := source(6, 2)
	for _, c := range []Compression{Raw, Zstd} {
		folder := t.TempDir()
		must(Write(folder, src, Options{Shard: 100, Size: 4, Compression: c}))(t)
		name := filepath.Join(folder, "train-00000.lte")
		whole := must(os.ReadFile(name))(t)
		read := func(content []byte) error {
			must(0, os.WriteFile(name, content, 0o666))(t)
			s, err := Open(folder)
			if err != nil {
				return err
			}
			var p picture.Picture
			for i := range s.Train.Len() {
				err = errors.Join(err, s.Train.Picture(&p, i))
			}
			return err
		}
		if err := read(whole); err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(whole); at++ {
			counts := at > 600 && at < len(whole)-100
			if counts && at%97 != 0 || at >= 8 && at < 16 {
				continue // the fingerprint is for Write
			}
			damaged := slices.Clone(whole)
			damaged[at] ^= 0x10
			if err := read(damaged); err == nil || !strings.Contains(err.Error(), name) || at >= 8 && !strings.Contains(err.Error(), "byte ") {
				t.Fatalf("%v, byte %d of %d: %v", c, at, len(whole), err)
			}
		}
		for _, n := range []int{0, 7, 79, 200, len(whole) - 1} {
			if err := read(whole[:n]); err == nil || !strings.Contains(err.Error(), name) {
				t.Fatalf("%v, cut to %d bytes: %v", c, n, err)
			}
		}
		must(0, os.Remove(name))(t)
		if _, err := Open(folder); err == nil || !strings.Contains(err.Error(), name) {
			t.Fatalf("without the file: %v", err)
		}
	}
}

// Fails if an invalid manifest is accepted, or if the error does not name the file at fault.
func TestBrokenManifestIsAnError(t *testing.T) {
	src, folder := source(6, 2), t.TempDir()
	must(Write(folder, src, Options{Shard: 100}))(t)
	name := filepath.Join(folder, manifestName)
	whole := string(must(os.ReadFile(name))(t))
	for _, c := range []struct{ from, to, file, says string }{
		{`"LTEPACK1"`, `"LTEPACK2"`, manifestName, `format "LTEPACK2", expected "LTEPACK1"`},
		{`"classes": 7`, `"classes": 3`, manifestName, "3 classes with 7 names"},
		{`"channels": 3`, `"channels": 1`, "train-00000.lte", "3 channels, expected 1"},
		{`"white": 255`, `"white": 0`, manifestName, "3 channels up to 0"},
		{`"images": 6`, `"images": 5`, "train-00000.lte", "6 images in "},
		{`"train"`, `"trains"`, manifestName, "no images in split train"},
		{`train-00000.lte`, `../train-00000.lte`, "train-00000.lte", "expected the name of a file in the folder of the manifest"},
		{`{`, `[`, manifestName, "expected JSON"},
		{whole, whole[:len(whole)/2], manifestName, "expected JSON"},
		{whole, "", manifestName, "expected JSON"},
	} {
		broken := strings.Replace(whole, c.from, c.to, 1)
		must(0, os.WriteFile(name, []byte(broken), 0o666))(t)
		if _, err := Open(folder); broken == whole || err == nil || !strings.Contains(err.Error(), c.file+": ") || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s for %s: %v", c.to, c.from, err)
		}
	}
	must(0, os.WriteFile(name, []byte(whole), 0o666))(t)
	must(Open(folder))(t)
}

// Labels beyond the manifest's classes, and a class whose training pictures were all left out. Fails if either is accepted, or if the error
// does not name the position.
func TestImpossibleLabelsAreErrors(t *testing.T) {
	src, folder := source(20, 7), t.TempDir()
	src.ClassNames = nil
	must(Write(folder, src, Options{Shard: 100}))(t)
	name := filepath.Join(folder, manifestName)
	whole := string(must(os.ReadFile(name))(t))
	must(0, os.WriteFile(name, []byte(strings.Replace(whole, `"classes": 7`, `"classes": 5`, 1)), 0o666))(t)
	if _, err := Open(folder); err == nil || !regexp.MustCompile(`train-00000\.lte: at byte \d+: picture 5: label 5, expected 0\.\.4`).MatchString(err.Error()) {
		t.Error(err)
	}
	for i := 6; i < 20; i += 7 {
		src.Train.(album).broken[i] = true
	}
	folder = t.TempDir()
	must(Write(folder, src, Options{Shard: 100, Skip: true}))(t)
	if _, err := Open(folder); err == nil || !regexp.MustCompile(`test-00000\.lte: at byte \d+: picture 6: label 6, which no training picture has`).MatchString(err.Error()) {
		t.Error(err)
	}
}

// Fails if two processes may pack into one folder.
func TestFolderIsLockedWhilePacking(t *testing.T) {
	folder := t.TempDir()
	unlock := must(lock(folder))(t)
	if _, err := Write(folder, source(1, 1), Options{Shard: 1}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("while it is locked: %v", err)
	}
	unlock()
	must(Write(folder, source(1, 1), Options{Shard: 1}))(t)
}

// No bytes make the parser panic, and every picture has the shape of its entry. Checksums are corrected, so that the code behind them is
// reached.
func FuzzShard(f *testing.F) {
	for _, c := range []Compression{Raw, Zstd} {
		folder := f.TempDir()
		must(Write(folder, source(2, 1), Options{Shard: 100, Size: 3, Compression: c}))(f)
		f.Add(must(os.ReadFile(filepath.Join(folder, "train-00000.lte")))(f), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend {
			mendChecksums(b)
		}
		s, err := parseShard(b)
		if err != nil {
			return
		}
		var p picture.Picture
		for i := range int(s.images) {
			e := s.entry(i)
			if uint64(e.height)*uint64(e.width) > 1<<16 {
				continue // allowed, and slow
			}
			if err := s.picture(&p, e, !mend); err == nil && len(p.Pix) != int(e.channels*e.height*e.width) {
				t.Fatalf("picture %d has %d bytes, its entry says %+v", i, len(p.Pix), e)
			}
		}
	})
}

func mendChecksums(b []byte) {
	if len(b) < headerBytes+footerBytes {
		return
	}
	foot := b[len(b)-footerBytes:]
	if index := binary.LittleEndian.Uint64(foot); index < uint64(len(b)-footerBytes) {
		binary.LittleEndian.PutUint64(foot[32:], xxhash.Sum64(b[index:len(b)-footerBytes]))
	}
	binary.LittleEndian.PutUint64(foot[48:], xxhash.Sum64(foot[:48]))
}
