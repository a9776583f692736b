package packed

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"lte/data/limit"
	"lte/data/picture"
	"lte/internal/file"
	"lte/internal/quote"

	"github.com/klauspost/compress/zstd"
)

// Fails if files of a killed packing remain, if others are removed, or if another program's manifest is replaced.
func TestPackingIntoAFolderInUse(t *testing.T) {
	src, folder := source(6, 2), t.TempDir()
	precious := filepath.Join(t.TempDir(), "precious")
	for _, name := range []string{precious, filepath.Join(folder, "mine.tmp"), filepath.Join(folder, "notes.0123.tmp")} {
		must(0, os.WriteFile(name, []byte("kept"), 0o666))(t)
	}
	must(0, os.Symlink(precious, filepath.Join(folder, "train-00000.lte")))(t)
	must(0, os.Symlink(precious, filepath.Join(folder, "train-00000.lte.tmp")))(t)
	f := must(file.Temporary(filepath.Join(folder, "test-00000.lte")))(t)
	must(0, f.Close())(t)
	must(Write(folder, src, Options{Shard: 100}))(t)
	must(Open(folder))(t)
	var left []string
	for _, e := range must(os.ReadDir(folder))(t) {
		left = append(left, e.Name())
	}
	if want := []string{manifestName, "mine.tmp", "notes.0123.tmp", "test-00000.lte", "train-00000.lte", "train-00000.lte.tmp"}; !slices.Equal(left, want) {
		t.Errorf("left are %v, want %v", left, want)
	}
	if got := must(os.ReadFile(precious))(t); string(got) != "kept" {
		t.Errorf("what a link leads to is %q", got)
	}

	name := filepath.Join(folder, manifestName)
	for _, other := range []string{`{"name": "an application"}`, "no JSON", "", "[]"} {
		must(0, os.WriteFile(name, []byte(other), 0o666))(t)
		if _, err := Write(folder, src, Options{Shard: 100}); err == nil || !strings.Contains(err.Error(), "not a packed set's: choose another folder") {
			t.Errorf("a manifest %q: %v", other, err)
		}
		if got := must(os.ReadFile(name))(t); string(got) != other {
			t.Errorf("the manifest %q is now %q", other, got)
		}
	}
}

// Fails if a FIFO or a socket is waited for, read or replaced.
func TestRegularFilesAlone(t *testing.T) {
	for _, name := range []string{manifestName, "train-00000.lte"} {
		for kind, make := range map[string]func(string) error{
			"a FIFO":   func(name string) error { return syscall.Mkfifo(name, 0o666) },
			"a folder": func(name string) error { return os.Mkdir(name, 0o777) },
			"a socket": func(name string) error { return syscall.Mknod(name, syscall.S_IFSOCK|0o666, 0) },
		} {
			src, folder := source(6, 2), t.TempDir()
			must(Write(folder, src, Options{Shard: 100}))(t)
			must(0, os.Remove(filepath.Join(folder, name)))(t)
			must(0, make(filepath.Join(folder, name)))(t)
			if _, err := Open(folder); err == nil || !strings.Contains(err.Error(), name+": ") || !strings.Contains(err.Error(), kind) {
				t.Errorf("%s, %s: %v", name, kind, err)
			}
			if _, err := Write(folder, src, Options{Shard: 100}); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), kind) {
				t.Errorf("packing, %s, %s: %v", name, kind, err)
			}
		}
	}
}

// allocated returns the bytes that f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// Fails if memory is allocated by a manifest's count before the count is checked.
func TestCountsOfManifests(t *testing.T) {
	src, folder := source(6, 2), t.TempDir()
	src.ClassNames = nil
	must(Write(folder, src, Options{Shard: 100}))(t)
	name := filepath.Join(folder, manifestName)
	whole := string(must(os.ReadFile(name))(t))
	for _, c := range []struct{ from, to, says string }{
		{`"classes": 7`, `"classes": 1099511627776`, manifestName + ": 1099511627776 classes, expected 1 to 1048576"},
		{`"classes": 7`, `"classes": -1`, manifestName + ": -1 classes, expected 1 to"},
		{`"classes": 7`, `"classes": 1e30`, manifestName + ": expected JSON"},
		{`"channels": 3`, `"channels": 1099511627776`, manifestName + ": 1099511627776 channels"},
		{`"channels": 3`, `"channels": -3`, manifestName + ": -3 channels"},
		{`"white": 255`, `"white": -1`, "up to -1"},
		{`"images": 6`, `"images": 4611686018427387904`, "train-00000.lte: 6 images in "},
		{`"images": 6`, `"images": -6`, "train-00000.lte: 6 images in "},
		{`test-00000.lte`, `train-00000.lte`, manifestName + `: shard "train-00000.lte" twice`},
		{`{`, strings.Repeat("[", 100000) + `{`, manifestName + ": expected JSON"},
		{`{`, strings.Repeat(" ", limit.Manifest) + `{`, manifestName + ": too large"},
	} {
		broken := strings.Replace(whole, c.from, c.to, 1)
		must(0, os.WriteFile(name, []byte(broken), 0o666))(t)
		var err error
		n := allocated(func() { _, err = Open(folder) })
		if broken == whole || err == nil || !strings.Contains(err.Error(), c.says) || n > 50<<20 {
			t.Errorf("%.40s for %s: %v, %d MB", c.to, c.from, err, n>>20)
		}
	}
}

// solid is n black pictures of one size.
type solid struct{ n, height, width int }

func (s solid) Len() int        { return s.n }
func (s solid) Label(i int) int { return 0 }
func (s solid) Picture(dst *picture.Picture, i int) error {
	dst.Reset(1, s.height, s.width)
	clear(dst.Pix)
	return nil
}

// Fails if an entry's size, or the decompressed size of a record, leads to an excessive allocation although all checksums are right, or if
// counts that are not those of the pixels are used for mean and deviation.
func TestShardsBeyondLimits(t *testing.T) {
	black := Source{Description: Description{Name: "black", Classes: 1, Channels: 1, White: 255}, Train: solid{2, 8, 8}, Test: solid{1, 8, 8}}
	frame := must(zstd.NewWriter(nil))(t).EncodeAll(make([]byte, 300<<20), nil)
	for name, k := range map[string]struct {
		change func(b []byte, s *shard) []byte
		says   string
	}{
		"2^32-1 pixels high": {func(b []byte, s *shard) []byte {
			binary.LittleEndian.PutUint32(b[s.position(0)+20:], 1<<32-1)
			return b
		}, "picture 0: 8×4294967295 pixels"},
		"10^8 pixels": {func(b []byte, s *shard) []byte {
			binary.LittleEndian.PutUint32(b[s.position(0)+20:], 10000)
			binary.LittleEndian.PutUint32(b[s.position(0)+24:], 10000)
			return b
		}, "picture 0: 10000×10000 pixels in "},
		"counts": {func(b []byte, s *shard) []byte {
			clear(b[s.index+s.images*entryBytes : len(b)-footerBytes])
			return b
		}, "counts that do not add up to the 128 pixels"},
		"counts of 2^63": {func(b []byte, s *shard) []byte {
			binary.LittleEndian.PutUint64(b[s.index+s.images*entryBytes:], 1<<63)
			return b
		}, "counts that do not add up to the 128 pixels"},
		"a record of 300 MB": {func(b []byte, s *shard) []byte {
			// The last record becomes another frame; what follows it moves.
			e := s.entry(1)
			grown := slices.Concat(b[:e.offset], frame, b[e.offset+uint64(e.size):])
			by := uint64(len(frame)) - uint64(e.size)
			at := s.position(1) + by
			e.size = uint32(len(frame))
			copy(grown[at:], e.append(nil))
			foot := grown[len(grown)-footerBytes:]
			binary.LittleEndian.PutUint64(foot, s.index+by)
			return grown
		}, "expected zstd: "},
	} {
		folder := t.TempDir()
		must(Write(folder, black, Options{Shard: 100, Compression: Zstd}))(t)
		file := filepath.Join(folder, "train-00000.lte")
		b := must(os.ReadFile(file))(t)
		b = k.change(b, must(parseShard(slices.Clone(b)))(t))
		mendChecksums(b)
		must(0, os.WriteFile(file, b, 0o666))(t)
		manifest := filepath.Join(folder, manifestName)
		text := string(must(os.ReadFile(manifest))(t))
		foot := b[len(b)-footerBytes:]
		from := strings.Index(text, `"train-00000.lte"`)
		to := from + strings.Index(text[from:], "}")
		text = text[:from] + fmt.Sprintf(`"train-00000.lte", "images": 2, "bytes": %d, "checksum": "%016x"`, len(b), binary.LittleEndian.Uint64(foot[32:])) + text[to:]
		must(0, os.WriteFile(manifest, []byte(text), 0o666))(t)
		var err error
		n := allocated(func() {
			var s *Set
			if s, err = Open(folder); err == nil {
				var p picture.Picture
				shard, _, j := s.Train.at(1)
				err = shard.picture(&p, shard.entry(j), false)
			}
		})
		if err == nil || !strings.Contains(err.Error(), k.says) || n > 50<<20 {
			t.Errorf("%s: %v, %d MB", name, err, n>>20)
		}
	}
	// A set that Open would refuse is not written.
	if _, err := Write(t.TempDir(), Source{Description: Description{Classes: 1}, Train: solid{50000, 1, 1}, Test: solid{1, 1, 1}}, Options{Shard: 1}); err == nil || !strings.Contains(err.Error(), "50003 shards") {
		t.Errorf("50,000 shards: %v", err)
	}
	black.Train = solid{1, 5000, 5000}
	bad := must(Write(t.TempDir(), black, Options{Shard: 100, Compression: Zstd}))(t)
	if len(bad) != 1 || !strings.Contains(bad[0].Error(), "5000×5000 pixels of nearly one colour") || !strings.Contains(bad[0].Error(), "--compression raw") {
		t.Errorf("packing 25 million black pixels: %v", bad)
	}
}

// Fails if a name in the list of unreadable images contains a line break or a control sequence.
func TestUnreadableQuotesNames(t *testing.T) {
	bad := Unreadable{fmt.Errorf("a\nlte: all is well\x1b[2J.png: broken"), fmt.Errorf("b.png: broken")}
	const want = "2 images could not be read\n  a\\nlte: all is well\\x1b[2J.png: broken\n  b.png: broken"
	if got := bad.Error(); got != want || quote.Error(bad) != want {
		t.Errorf("%q, quoted %q, want %q", got, quote.Error(bad), want)
	}
	for i := range 30 {
		bad = append(bad, fmt.Errorf("%d", i))
	}
	if got := bad.Error(); strings.Count(got, "\n") != 21 || !strings.HasSuffix(got, "\n  and 12 more") {
		t.Error(got)
	}
}
