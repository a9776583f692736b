package data

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// refuses expects an error of Open with these words, on one line, soon, and without allocating what the source claims to hold.
func refuses(t *testing.T, o Source, words ...string) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	done := make(chan error, 1)
	go func() {
		_, err := Open(o, 1)
		done <- err
	}()
	select {
	case err := <-done:
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) >> 20; n > 150 {
			t.Errorf("%s: %d MB allocated", o.Path, n)
		}
		for _, w := range words {
			if err == nil || !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: error %v, want one that says %s", o.Path, err, w)
			}
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: opening it takes more than 20 s", o.Path)
	}
}

// Fails if anything but a regular file is waited for or read, wherever a file is expected, or the error does not name it.
func TestRegularFilesAlone(t *testing.T) {
	folder := t.TempDir()
	kinds := map[string]func(name string) error{
		"a FIFO": func(name string) error { return syscall.Mkfifo(name, 0o644) },
		"a socket": func(name string) error {
			at := filepath.Join(folder, "s") // the name of a socket is short
			l, err := net.Listen("unix", at)
			if err == nil {
				t.Cleanup(func() { l.Close() })
				err = os.Rename(at, name)
			}
			return err
		},
		"a device": func(name string) error { return os.Symlink("/dev/zero", name) },
	}
	classes := []member{{"classes", "cat\n"}}
	for kind, make := range kinds {
		for _, k := range []struct {
			of      string
			members []member
			name    string // what is replaced
			source  Source // Path is the folder unless it is given
		}{
			{"an image", cats("test"), "train/cat/9.png", Source{}},
			{"an archive", []member{{"pets.tar", tarOf(cats("test"))}}, "pets.tar", Source{Path: "pets.tar"}},
			{"a list of classes", append(cats("test"), classes...), "classes", Source{Classes: "classes"}},
			{"records of CIFAR-10", cifar10(""), "data_batch_2.bin", Source{}},
			{"names of CIFAR-10", cifar10(""), "batches.meta.txt", Source{}},
			{"records of CIFAR-100", cifar100(), "cifar-100-binary/test.bin", Source{}},
			{"images of MNIST", mnist("", "t10k"), "t10k-images-idx3-ubyte", Source{}},
			{"labels of MNIST", mnist("", "t10k"), "train-labels-idx1-ubyte", Source{}},
			{"labels of STL-10", stl10(), "stl10_binary/train_y.bin", Source{}},
			{"a shard", []member{{"train-0.tar", shardOf([2]int{1, 0})}, {"test-0.tar", shardOf([2]int{1, 0})}}, "test-0.tar", Source{}},
			{"a shard of a pattern", []member{{"train-0.tar", shardOf([2]int{1, 0})}, {"test-0.tar", shardOf([2]int{1, 0})}}, "test-0.tar", Source{Path: "t{rain,est}-0.tar"}},
			{"a manifest", []member{{"manifest.json", "{}"}}, "manifest.json", Source{Kind: "packed"}},
			{"a manifest, by looking", []member{{"manifest.json", "{}"}}, "manifest.json", Source{}},
		} {
			root := writeFolder(t, k.members)
			name := filepath.Join(root, k.name)
			if err := errors.Join(os.Remove(name), make(name)); err != nil {
				t.Fatal(err)
			}
			k.source.Path = filepath.Join(root, k.source.Path)
			if k.source.Classes != "" {
				k.source.Classes = filepath.Join(root, k.source.Classes)
			}
			t.Run(k.of+", "+kind, func(t *testing.T) { refuses(t, k.source, filepath.Base(k.name), kind) })
		}
	}
	// A file that is replaced after the set was opened.
	root := writeFolder(t, cats("test"))
	set, err := Open(Source{Path: root, Unread: true}, 1)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(root, "train/cat/10.png")
	if err := errors.Join(os.Remove(name), syscall.Mkfifo(name, 0o644)); err != nil {
		t.Fatal(err)
	}
	var p Picture
	if err := set.Train.Picture(&p, 0); err == nil || !strings.Contains(err.Error(), "10.png: not a regular file: it is a FIFO") {
		t.Errorf("%v", err)
	}
}

// Fails if links form a cycle, or lead to so many paths that listing them does not end.
func TestLinksThatLeadInCircles(t *testing.T) {
	link := func(root string, links ...string) string {
		for i := 0; i < len(links); i += 2 {
			if err := os.Symlink(links[i], filepath.Join(root, links[i+1])); err != nil {
				t.Fatal(err)
			}
		}
		return root
	}
	refuses(t, Source{Path: link(writeFolder(t, cats("test")), ".", "train/a", "..", "train/b")}, "train/a: a link to a folder that contains it", "remove it")
	refuses(t, Source{Path: link(writeFolder(t, cats("test")), "../..", "train/cat/a", "../../train", "train/cat/b")}, "train/cat/a: a link to a folder that contains it")
	refuses(t, Source{Path: link(writeFolder(t, cats("test")), "x", "train/x")}, "train/x: too many levels", "repair the link")
	// 8 links in each of 30 folders to the next one are 8^29 paths.
	root := writeFolder(t, cats("test"))
	rooms := t.TempDir()
	for i := range 30 {
		if err := os.Mkdir(filepath.Join(rooms, fmt.Sprint(i)), 0o755); err != nil {
			t.Fatal(err)
		}
		for k := range 8 {
			link(rooms, filepath.Join(rooms, fmt.Sprint(i+1)), fmt.Sprintf("%d/%d", i, k))
		}
	}
	if err := os.Mkdir(filepath.Join(rooms, "30"), 0o755); err != nil {
		t.Fatal(err)
	}
	refuses(t, Source{Path: link(root, filepath.Join(rooms, "0"), "train/fox")}, "a link to the same folder as", "remove one of them")
	refuses(t, Source{Path: filepath.Join(rooms, "0")}, "a link to the same folder as")
	// 2,000 links to a folder of 2,000 links are 4 million paths within the depth that is searched for a set.
	wide := t.TempDir()
	for _, name := range []string{"a", "b", "c"} {
		if err := os.Mkdir(filepath.Join(wide, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2000 {
		link(wide, "../b", fmt.Sprintf("a/%d", i), "../c", fmt.Sprintf("b/%d", i))
	}
	refuses(t, Source{Path: filepath.Join(wide, "a")}, "a link to the same folder as")
}

// Fails if an invalid option, or one that contradicts the files, is reported as an error of the files, or the other way round: their exit
// codes differ.
func TestOptionErrors(t *testing.T) {
	shape := func(change func(*Synthetic)) Source {
		y := Synthetic{Images: 10, Classes: 2, Channels: 1, Height: 2, Width: 2}
		change(&y)
		return Source{Kind: "synthetic", Synthetic: y}
	}
	folder, sizes := writeFolder(t, cats("test")), writeFolder(t, append(cats("test"), member{"train/cat/0.png", pngOf(5, 4, 9)}))
	var nan float64
	nan /= nan
	for _, k := range []struct {
		source Source
		says   string
	}{
		{Source{Kind: "video"}, `unknown data.kind "video": expected one of auto, digits`},
		{Source{Kind: "folder"}, `opening a set of kind "folder": data.kind is folder, but data.path is empty`},
		{Source{Kind: "packed"}, "data.kind is packed, but data.path is empty"},
		{Source{Kind: "digits", Path: folder}, "leave data.path empty"},
		{Source{Kind: "synthetic", Path: folder}, "leave data.path empty"},
		{Source{Kind: "folder", Path: "x{0..1}"}, "a brace pattern names shards"},
		{Source{Kind: "cifar10", Path: folder}, "no set of data.kind cifar10 found"},
		{Source{TestFraction: nan}, "data.test_fraction is NaN, expected a number between 0 and 1"},
		{Source{TestFraction: 1}, "data.test_fraction is 1"},
		{Source{TestFraction: -1}, "data.test_fraction is -1"},
		{Source{Classes: "x"}, "the set (digits) has none: leave data.classes empty"},
		{Source{Normalize: "imagenet"}, "is for images of 3 channels, these have 1"},
		{Source{Normalize: "x"}, `unknown data.normalize "x"`},
		{Source{Path: sizes}, "expected 5×4 like "},
		{Source{Size: 1 << 40, Fit: Fit{Keep: 1}}, "data.size is 1099511627776, expected 0 to 65536"},
		{Source{Size: -1}, "data.size is -1"},
		{Source{Size: 8, Fit: Fit{Keep: 1e-300}}, "data.keep is 1e-300, expected 1 at most, and 3.73e-09 at least"},
		{Source{Size: 8, Fit: Fit{Keep: nan}}, "data.keep is NaN"},
		{Source{Size: 8, Fit: Fit{Keep: -1}}, "data.keep is -1"},
		{shape(func(y *Synthetic) { y.Images = 1 << 62 }), "synthetic.images 4611686018427387904: expected 1 to 268435456"},
		{shape(func(y *Synthetic) { y.Classes = 1 << 40 }), "synthetic.classes 1099511627776: expected 1 to 1048576"},
		{shape(func(y *Synthetic) { y.Channels = -1 }), "synthetic.channels -1: expected 1 to"},
		{shape(func(y *Synthetic) { y.Height = 1 << 17 }), "synthetic.height 131072: expected 1 to 65536"},
		{shape(func(y *Synthetic) { y.Width, y.Height = 1<<16, 1<<16 }), "65536×65536 pixels in 1 channels, expected 134217728 values at most"},
		{shape(func(y *Synthetic) { y.Channels = 1 << 26 }), "2×2 pixels in 67108864 channels"},
	} {
		_, err := Open(k.source, 1)
		if err == nil || !strings.Contains(err.Error(), k.says) || !errors.As(err, new(*OptionError)) {
			t.Errorf("%+v: %v (%T), want an OptionError that says %s", k.source, err, errors.Unwrap(err), k.says)
		}
	}
	for _, o := range []Source{{Path: filepath.Join(folder, "none")}, {Path: writeFile(t, "x", "hello")}, {Path: folder, Classes: filepath.Join(folder, "none")}, {Kind: "packed", Path: folder}} {
		if _, err := Open(o, 1); err == nil || errors.As(err, new(*OptionError)) {
			t.Errorf("%+v: %v, want an error that is no OptionError", o, err)
		}
	}
}

// Fails if a class with one image is only in one of the splits, or if the fraction of the test images leaves a class without training images.
func TestClassesTooSmallToSplit(t *testing.T) {
	members := []member{{"cat/1.png", tint(1)}, {"cat/2.png", tint(2)}, {"cat/3.png", tint(3)}, {"cat/4.png", tint(4)}, {"cat/5.png", tint(5)}, {"dog/1.png", tint(6)}}
	keptAs(t, members, func(path string) {
		refuses(t, Source{Path: path}, `class "dog" has one image, expected at least two`, "remove the class")
	})
	keptAs(t, append(members, member{"dog/2.png", tint(7)}), func(path string) {
		if _, err := Open(Source{Path: path}, 1); err != nil {
			t.Error(err)
		}
		refuses(t, Source{Path: path, TestFraction: 0.9}, "data.test_fraction is 0.9, which leaves none of the ", "lower it")
	})
	refuses(t, Source{Path: writeFile(t, "x.tar", shardOf([2]int{1, 0}, [2]int{2, 0}, [2]int{3, 1}))}, `class "1" has one image`)
}
