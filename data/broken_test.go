package data

import (
	"bytes"
	"image"
	"image/jpeg"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// brokenCase is a source that cannot be opened.
type brokenCase struct {
	name    string
	members []member // nil: see source
	source  Source
	words   []string // what the error says
}

// Every error says which file, what is wrong, what was expected and what to do. Fails also if damage is accepted as data.
func TestBrokenSetsAreErrors(t *testing.T) {
	noise := image.NewGray(image.Rect(0, 0, 3, 2))
	whole := encoded(func(b *bytes.Buffer) error { return jpeg.Encode(b, noise, nil) })
	with := func(name, content string) []member { return append(cats("test"), member{name, content}) }
	without := func(prefix string) []member {
		return slices.DeleteFunc(cats("test"), func(m member) bool { return strings.HasPrefix(m.name, prefix) })
	}
	for _, k := range []brokenCase{
		{"another size", append(with("train/cat/5.png", pngOf(3, 3, 1)), member{"train/dog/0.png", pngOf(9, 9, 1)}), Source{},
			[]string{"train/cat/5.png: an image of 3×3 pixels, expected 3×2 like ", "train/cat/10.png", "set data.size"}},
		{"another size in test", with("test/dog/0.png", pngOf(2, 3, 1)), Source{}, []string{"test/dog/0.png: an image of 2×3 pixels"}},
		{"cut PNG", with("train/cat/5.png", tint(1)[:50]), Source{}, []string{"train/cat/5.png: ", "expected a valid PNG", "not enough", "copy it again"}},
		{"cut JPEG", with("train/cat/5.png", whole[:len(whole)-9]), Source{}, []string{"train/cat/5.png: ", "ends too early", "JPEG", "copy it again"}},
		{"cut first", with("train/cat/0.png", tint(1)[:20]), Source{}, []string{"train/cat/0.png: ", "ends too early", "PNG"}},
		{"damaged", with("train/cat/5.png", strings.Replace(tint(1), "IDAT", "IDAY", 1)), Source{}, []string{"train/cat/5.png: ", "expected a valid PNG"}},
		{"no image", with("train/cat/Thumbs.db", "hello, world"), Source{}, []string{`train/cat/Thumbs.db: begins with "hello, w"`, "expected a JPEG, PNG, GIF, BMP or WebP", "remove"}},
		{"empty image", with("train/cat/5.png", ""), Source{}, []string{"train/cat/5.png: an empty file", "remove"}},
		{"empty class", with("train/fox/", ""), Source{}, []string{"train/fox: a class folder without images", "add its images, or remove"}},
		{"empty class in test", append(with("train/fox/1.png", tint(3)), member{"test/fox/", ""}), Source{}, []string{"test/fox: a class folder without images"}},
		{"class of test alone", with("test/fox/1.png", tint(3)), Source{}, []string{"test/fox: a class that is missing in train/", "2 classes (cat, dog)", "add train/fox"}},
		{"no train", append(without("train/"), member{"Train/cat/1.png", tint(1)}), Source{}, []string{"no folder train/ (found: Train, test)", "expected train/CLASS/IMAGE"}},
		{"no test", without("test/"), Source{}, []string{"no folder test/, val/ or valid/", "expected train/CLASS/IMAGE"}},
		{"train without classes", append(without("train/"), member{"train/1.png", tint(1)}, member{"train/2.png", tint(1)}), Source{}, []string{"train/ has no class folders", "arrange"}},
		{"nothing", []member{{"a/b/", ""}}, Source{}, []string{"no image set found (but: a)", "expected train/CLASS/IMAGE"}},
		{"too deep", with("train/cat/old/1.png", tint(1)), Source{}, []string{"train/cat/old: a folder inside a class folder", "up by one"}},
		{"two sets", append(below("a/", cats("test")), below("b/", cats("test"))...), Source{}, []string{"in a and another (folder) in b", "set data.path"}},

		{"unknown kind", nil, Source{Kind: "digit"}, []string{`"digit"`, "auto, digits, cifar10", "folder"}},
		{"folder without a path", nil, Source{Kind: "folder"}, []string{"data.path is empty"}},
		{"digits with a path", nil, Source{Kind: "digits", Path: "x"}, []string{`"x"`, "leave data.path empty"}},
		{"no such path", nil, Source{Path: filepath.Join(t.TempDir(), "none")}, []string{"none", "no such file", "correct data.path"}},
		{"a device", nil, Source{Path: "/dev/null"}, []string{"neither a file nor a folder", "correct data.path"}},
		{"another kind", nil, Source{Kind: "cifar10", Path: writeFolder(t, cats("test"))}, []string{"no set of data.kind cifar10 found (but: test, train)", "set data.kind to auto"}},
		{"another file", nil, Source{Path: writeFile(t, "x", "hello, world")}, []string{`begins with "hello, w"`, "expected an image set (digits, cifar10", "correct data.path"}},
		{"zip of nothing", nil, Source{Path: writeFile(t, "x.zip", "PK\x03\x04 and so on")}, []string{"is damaged, as zip", "before byte 14", "download it again"}},
		{"empty file", nil, Source{Path: writeFile(t, "x.tar", "")}, []string{"an empty file", "copy or download"}},
		{"empty folder", nil, Source{Path: t.TempDir()}, []string{"no image set found (but: nothing)", "expected one of digits, cifar10"}},
		{"zstd of another thing", nil, Source{Path: writeFile(t, "x", zstdOf(strings.Repeat("no tar", 200)))}, []string{"begins with", "expected an image set"}},
		{"gzip of nothing", nil, Source{Path: writeFile(t, "x", gzipOf(""))}, []string{"begins with", "expected an image set"}},
		{"link in a tar", nil, Source{Path: writeFile(t, "x", tarOf(with("train/cat/5.png", "-> 9.png")))}, []string{"train/cat/5.png: a link to 9.png", "--dereference"}},
		{"test fraction", nil, Source{TestFraction: 1}, []string{"data.test_fraction is 1", "between 0 and 1"}},
	} {
		sources := []Source{k.source}
		if k.members != nil {
			sources = []Source{{Path: writeFolder(t, k.members)}, {Path: writeFile(t, "pets.tar", tarOf(k.members))},
				{Path: writeFile(t, "pets.tar.zst", zstdOf(tarOf(k.members)))}, {Path: writeFile(t, "pets.zip", zipOf(k.members))}}
		}
		for _, o := range sources {
			_, err := Open(o, 1)
			words := append(slices.Clone(k.words), "data: opening")
			if o.Path != "" {
				words = append(words, filepath.Base(o.Path))
			}
			for _, w := range words {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("%s, %s: error %v, want one that says %s", k.name, o.Path, err, w)
				}
			}
			if err != nil && strings.Contains(err.Error(), "goroutine") {
				t.Errorf("%s: a panic: %v", k.name, err)
			}
		}
	}
}

// Fails on links that lead nowhere and images that cannot be read.
func TestBrokenLinkInAFolder(t *testing.T) {
	root := writeFolder(t, cats("test"))
	if err := os.Symlink("nowhere", filepath.Join(root, "train/cat/link.png")); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Source{Path: root}, 1)
	if err == nil || !strings.Contains(err.Error(), "link.png") || !strings.Contains(err.Error(), "repair the link") {
		t.Errorf("error %v", err)
	}
}

// Fails if an archive truncated anywhere, also between two files, opens as a smaller set; archive/tar takes the end of the file for the end
// of the archive.
func TestTruncatedArchivesAreErrors(t *testing.T) {
	plain := tarOf(cats("test"))
	end := len(strings.TrimRight(plain, "\x00")) // of the last file
	end = (end + 511) / 512 * 512
	for name, k := range map[string]struct {
		content string
		whole   int // what is as good as the whole: one block of the two that end an archive
		step    int
	}{
		"plain": {plain, end + 512, 128},
		"zstd":  {zstdOf(plain), len(zstdOf(plain)), 17},
		"gzip":  {gzipOf(plain), len(gzipOf(plain)), 17},
	} {
		for n := 1; n < k.whole; n += k.step {
			_, err := Open(Source{Path: writeFile(t, "x", k.content[:n])}, 1)
			if err == nil {
				t.Errorf("%s: %d bytes of %d pass as an archive", name, n, len(k.content))
			} else if s := err.Error(); n > k.whole/2 && (!strings.Contains(s, "again") || !strings.Contains(s, "early") && !strings.Contains(s, "expected a tar")) {
				t.Errorf("%s, %d bytes: %v", name, n, err)
			}
		}
	}
	damaged := []byte(zstdOf(plain))
	damaged[len(damaged)-2] ^= 1 // in the checksum
	_, err := Open(Source{Path: writeFile(t, "x", string(damaged))}, 1)
	if err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("a wrong checksum: %v", err)
	}
}

// Fails if the error depends on timing: of many broken images always the first one is named.
func TestFirstBrokenImageIsReported(t *testing.T) {
	members := cats("test")
	for i := range 40 {
		content := tint(1)
		if i >= 7 {
			content = "broken"
		}
		members = append(members, member{"train/cat/a" + string(rune('a'+i/10)) + string(rune('0'+i%10)) + ".png", content})
	}
	name := writeFile(t, "x", tarOf(members))
	for range 30 {
		_, err := Open(Source{Path: name}, 1)
		if err == nil || !strings.Contains(err.Error(), "train/cat/aa7.png") {
			t.Fatalf("error %v, want one about aa7.png", err)
		}
	}
}
