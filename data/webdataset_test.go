package data

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// shardOf is a WebDataset shard of images with those red values, each with its class.
func shardOf(samples ...[2]int) string {
	var members []member
	for i, s := range samples {
		key := fmt.Sprintf("%06d", i)
		members = append(members, member{key + ".cls", fmt.Sprintln(s[1])}, member{key + ".jpg", tint(uint8(s[0]))}, member{key + ".json", "{}"})
	}
	return tarOf(members)
}

func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	var members []member
	for name, content := range files {
		members = append(members, member{name, content})
	}
	return writeFolder(t, members)
}

// Fails if shards are out of order or omitted, compressed ones too, if splits are read from the wrong part of a name, or from parts of words.
func TestWebDataset(t *testing.T) {
	first, second, test := shardOf([2]int{1, 0}, [2]int{2, 2}), shardOf([2]int{3, 1}), shardOf([2]int{4, 2})
	for _, k := range []struct {
		files   map[string]string
		pattern string
	}{
		{map[string]string{"imagenet-train-000000.tar": first, "imagenet-train-000001.tar": second, "imagenet-val-000000.tar": test}, ""},
		{map[string]string{"imagenet-train-000000.tar": first, "imagenet-train-000001.tar": second, "imagenet-val-000000.tar": test},
			"/imagenet-{train-{000000..000001},val-000000}.tar"},
		{map[string]string{"carnival_train_9.tar": first, "carnival_train_10.tar": second, "carnival_test_0.tar": test}, "/carnival_{train_{9..10},test_0}.tar"},
		{map[string]string{"train/0.tar.gz": gzipOf(first), "train/1.tar.zst": zstdOf(second), "validation/0.tar": test, "validation/nshards.txt": "1"}, ""},
		{map[string]string{"wds/train/0.tar": first, "wds/train/1.tar": second, "wds/test/0.tar": test, "wds/classnames.txt": "a\nb\nc\n"}, ""},
	} {
		root := writeFiles(t, k.files)
		set, err := Open(Source{Path: root + k.pattern}, 1)
		if err != nil {
			t.Errorf("%v%s: %v", root, k.pattern, err)
			continue
		}
		train, labels := values(t, set.Train)
		reds, of := values(t, set.Test)
		if !slices.Equal(train, []uint8{1, 2, 3}) || !slices.Equal(labels, []int{0, 2, 1}) || !slices.Equal(reds, []uint8{4}) || of[0] != 2 || set.Classes != 3 || set.Kind != "webdataset" {
			t.Errorf("%s%s: training images %v of classes %v, test %v of %v", root, k.pattern, train, labels, reds, of)
		}
		if (k.files["wds/classnames.txt"] != "") != (set.ClassNames[0] == "a") {
			t.Errorf("classes %v", set.ClassNames)
		}
	}
	// One shard alone, or shards without a split in their names, are divided.
	var samples [][2]int
	for i := range 10 {
		samples = append(samples, [2]int{i, i % 2})
	}
	for _, path := range []string{
		writeFile(t, "one.tar", shardOf(samples...)),
		writeFiles(t, map[string]string{"a.tar": shardOf(samples[:4]...), "b.tar": shardOf(samples[4:]...)}),
	} {
		set, err := Open(Source{Path: path}, 1)
		if err != nil || set.Train.Len() != 8 || set.Test.Len() != 2 || set.Test.Label(0) == set.Test.Label(1) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Fails if samples are silently omitted, or if an error does not name the shard and the position in it.
func TestBrokenWebDataset(t *testing.T) {
	good, test := shardOf([2]int{1, 0}, [2]int{2, 1}), shardOf([2]int{4, 1})
	with := func(members ...member) string {
		return tarOf(append(members, member{"z.jpg", tint(1)}, member{"z.cls", "0"}))
	}
	for name, k := range map[string]struct {
		shard string
		words []string
	}{
		"no class":     {with(member{"a/1.png", tint(1)}), []string{"a/1: a sample with 1.png alone", "pack the shard again"}},
		"no image":     {with(member{"a/1.cls", "1"}), []string{"a/1: a sample with 1.cls alone"}},
		"no number":    {with(member{"1.png", tint(1)}, member{"1.cls", "cat"}), []string{"byte ", `1.cls: a class of "cat", expected a number in 0..`}},
		"negative":     {with(member{"1.png", tint(1)}, member{"1.cls", "-1"}), []string{`a class of "-1"`}},
		"huge":         {with(member{"1.png", tint(1)}, member{"1.cls", "99999999999999999999999999999999999"}), []string{`a class of "9`}},
		"empty":        {with(member{"1.png", tint(1)}, member{"1.cls", ""}), []string{`a class of ""`}},
		"two images":   {with(member{"1.png", tint(1)}, member{"1.jpg", tint(1)}, member{"1.cls", "0"}), []string{"a second image or class of one sample"}},
		"a link":       {with(member{"1.png", "-> z.jpg"}, member{"1.cls", "0"}), []string{"1.png: a link to z.jpg"}},
		"cut":          {good[:len(good)-1100], []string{"ends too early", "after 000001.json"}},
		"no tar":       {"hello, world", []string{"train-1.tar: expected a tar archive of samples"}},
		"empty shard":  {"", []string{"train-1.tar: an empty file"}},
		"broken image": {with(member{"1.png", "hello"}, member{"1.cls", "0"}), []string{`train-1.tar, byte `, `1.png: begins with "hello"`}},
	} {
		root := writeFiles(t, map[string]string{"train-0.tar": good, "train-1.tar": k.shard, "test-0.tar": test})
		_, err := Open(Source{Path: root}, 1)
		for _, w := range k.words {
			if err == nil || !strings.Contains(err.Error(), w) || !strings.Contains(err.Error(), "train-1.tar") {
				t.Errorf("%s: error %v, want one that says %s of train-1.tar", name, err, w)
			}
		}
	}
	for name, k := range map[string]struct {
		files   map[string]string
		pattern string
		words   string
	}{
		"class of the test alone": {map[string]string{"train.tar": good, "test.tar": shardOf([2]int{1, 7})}, "", "a class of \"7\\n\", expected a number in 0..1"},
		"class between":           {map[string]string{"train.tar": shardOf([2]int{1, 0}, [2]int{1, 2}), "val.tar": test}, "", "of class 1, which no training image has"},
		"test alone":              {map[string]string{"val.tar": test}, "", "shards of the test alone"},
		"train alone":             {map[string]string{"train.tar": good}, "", "shards with train in their names alone"},
		"names that say nothing":  {map[string]string{"train.tar": good, "other.tar": good}, "", "other.tar: a shard whose name has no split"},
		"too few class names":     {map[string]string{"train.tar": good, "test.tar": test, "classnames.txt": "a\n"}, "", "names 1 classes, but the training images' labels go up to 1"},
		"shard missing":           {map[string]string{"train-0.tar": good}, "/train-{0..1}.tar", "train-1.tar: no such file"},
		"brace not closed":        {nil, "/train-{0..1.tar", "not closed"},
		"no range":                {nil, "/train-{x..y}.tar", "neither a range"},
		"backwards":               {nil, "/train-{9..1}.tar", "neither a range"},
		"too many":                {nil, "/{0000..9999}{0000..9999}", "more than 131072 paths"},
	} {
		root := t.TempDir()
		if k.files != nil {
			root = writeFiles(t, k.files)
		}
		if _, err := Open(Source{Path: root + k.pattern}, 1); err == nil || !strings.Contains(err.Error(), k.words) {
			t.Errorf("%s: error %v, want one that says %s", name, err, k.words)
		}
	}
	// An existing path with a brace is no pattern.
	root := filepath.Join(t.TempDir(), "set{1}")
	if err := os.Rename(writeFolder(t, cats("test")), root); err != nil {
		t.Fatal(err)
	}
	if set, err := Open(Source{Path: root}, 1); err != nil || set.Name != "set{1}" {
		t.Errorf("a brace in a name: %v", err)
	}
}
