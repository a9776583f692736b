package source

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"lte/data/limit"
)

// WebDataset (https://github.com/webdataset/webdataset): shards, tar archives whose files form samples by their names: 00042.jpg and
// 00042.cls, an image and its class number, are one. The key of a sample is its path up to the first dot of its base name.

// imageExtensions are the extensions of a sample's image.
var imageExtensions = []string{"jpg", "jpeg", "png", "gif", "bmp", "webp", "img"}

// isWebDataset accepts an archive with .cls files, a folder of shards, and one whose train/ is such a folder.
func isWebDataset(p fileSystem, dir string, entries []entry) bool {
	if _, ok := p.(disk); !ok {
		return slices.ContainsFunc(entries, func(e entry) bool { return !e.dir && path.Ext(e.name) == ".cls" })
	}
	if slices.ContainsFunc(entries, isShard) {
		return true
	}
	for _, e := range entries {
		if e.dir && e.name == trainFolder {
			below, err := p.list(path.Join(dir, e.name))
			return err == nil && slices.ContainsFunc(below, isShard)
		}
	}
	return false
}

// isShard recognizes a shard by its name, as a folder may hold thousands.
func isShard(e entry) bool {
	name := strings.ToLower(e.name)
	for _, packed := range []string{".gz", ".zst"} {
		name = strings.TrimSuffix(name, packed)
	}
	return !e.dir && (strings.HasSuffix(name, ".tar") || strings.HasSuffix(name, ".tgz"))
}

// readWebDataset reads the shards of a folder and of its folders named like splits, or an archive that is the only shard.
func readWebDataset(p fileSystem, dir string, _ Options) (*Set, error) {
	d, ok := p.(disk)
	if !ok {
		return readShards([]shard{{fileSystem: p, dir: dir}}, nil)
	}
	var shards []shard
	var add func(dir string, deep bool) error
	add = func(dir string, deep bool) error {
		entries, err := d.list(dir)
		for _, e := range entries {
			name := path.Join(dir, e.name)
			switch {
			case isShard(e):
				shards = append(shards, shard{path: d.where(name), split: splitOf(name), dir: "."})
			case e.dir && deep && splitOf(e.name) != "":
				if err := add(name, false); err != nil {
					return err
				}
			}
		}
		return err
	}
	if err := add(dir, true); err != nil {
		return nil, err
	}
	names, err := readLines(p, path.Join(dir, "classnames.txt"))
	if err != nil {
		return nil, err
	}
	return readShards(shards, names)
}

// readBraces reads the shards of a brace pattern.
func readBraces(pattern string) (*Set, error) {
	paths, err := braces(pattern)
	if err != nil {
		return nil, err
	}
	var shards []shard
	for _, name := range paths {
		if _, err := os.Stat(name); err != nil {
			return nil, fmt.Errorf("%w; expected every shard of the pattern: correct data.path, or download it", err)
		}
		shards = append(shards, shard{path: name, split: splitOf(name), dir: "."})
	}
	set, err := readShards(shards, nil)
	if err != nil {
		return nil, err
	}
	before, _, _ := strings.Cut(pattern, "{")
	set.Name = strings.TrimRight(filepath.Base(before), "-_.")
	if before == "" || strings.HasSuffix(before, "/") {
		set.Name = filepath.Base(filepath.Dir(filepath.Join(".", paths[0])))
	}
	return set, nil
}

// shard is one archive of samples.
type shard struct {
	path       string // to be opened unless fileSystem is set
	fileSystem fileSystem
	dir        string // folder of the samples
	split      string // train, or one of testFolders; "": unknown
}

// splitWords are the words in names that indicate a split.
var splitWords = map[string]string{"train": "train", "training": "train", "test": "test", "testing": "test",
	"val": "val", "valid": "valid", "validation": "val"}

// splitOf derives a split from a shard's name or its folder's: imagenet-train-000042.tar, val/42.tar.
func splitOf(name string) string {
	name = filepath.ToSlash(name)
	for _, part := range []string{path.Base(name), path.Base(path.Dir(name))} {
		for _, word := range strings.FieldsFunc(strings.ToLower(part), func(r rune) bool { return r < 'a' || r > 'z' }) {
			if split := splitWords[word]; split != "" {
				return split
			}
		}
	}
	return ""
}

// readShards reads the labels of all samples. The test images are the shards of the first of testFolders that has any; shards without
// splits in their names are divided by Open.
func readShards(shards []shard, names []string) (*Set, error) {
	by := map[string][]shard{}
	for _, s := range shards {
		by[s.split] = append(by[s.split], s)
	}
	if unknown := by[""]; len(unknown) > 0 && len(unknown) < len(shards) {
		return nil, fmt.Errorf("%s: a shard whose name has no split, unlike others, expected train, test or val in all names or in none: rename or remove it", unknown[0].path)
	}
	set := &Set{Kind: "webdataset"}
	train, split := by[""], ""
	if len(train) == 0 {
		if train = by[trainFolder]; len(train) == 0 {
			return nil, fmt.Errorf("%s: shards of the test alone, expected some with train in their names: add them, or correct data.path", shards[0].path)
		}
		for _, split = range testFolders {
			if len(by[split]) > 0 {
				break
			}
		}
		if len(by[split]) == 0 {
			return nil, fmt.Errorf("%s: shards with train in their names alone, expected some with test or val too: add them to the folder or the pattern, or rename all", shards[0].path)
		}
	}
	for _, s := range train {
		if err := set.Train.addShard(s, limit.Classes); err != nil {
			return nil, err
		}
	}
	if len(set.Train.Labels) == 0 {
		return nil, fmt.Errorf("no samples, expected .jpg and .cls files in the shards: correct data.path")
	}
	classes := int(slices.Max(set.Train.Labels)) + 1
	if names == nil {
		names = numbers(classes)
	}
	if classes > len(names) {
		return nil, fmt.Errorf("classnames.txt names %d classes, but the training images' labels go up to %d: correct or remove it", len(names), classes-1)
	}
	set.Classes = names
	if split != "" {
		for _, s := range by[split] {
			if err := set.Test.addShard(s, len(names)); err != nil {
				return nil, err
			}
		}
	}
	return set, nil
}

// sample is the image and class files of one key.
type sample struct{ image, cls string }

// addShard appends a shard's samples in the order of their keys; labels must be below classes.
func (s *Split) addShard(of shard, classes int) error {
	p := of.fileSystem
	if p == nil {
		opened, err := openFileSystem(of.path)
		if err != nil {
			return fmt.Errorf("%s: %w", of.path, err)
		}
		if _, ok := opened.(*archive); !ok {
			return fmt.Errorf("%s: expected a tar archive of samples: correct data.path, or download the shard again", of.path)
		}
		p = opened
	}
	samples := map[string]*sample{}
	if err := addSamples(samples, p, of.dir); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(samples)) {
		k := samples[key]
		if k.image == "" || k.cls == "" {
			return fmt.Errorf("%s: a sample with %s alone, expected an image (.jpg, .png, ...) and its class (.cls): pack the shard again",
				p.where(key), path.Base(k.image+k.cls))
		}
		text, err := p.read(nil, k.cls, limit.Label)
		if err != nil {
			return fmt.Errorf("%s: %w", p.where(k.cls), err)
		}
		label, err := strconv.Atoi(strings.TrimSpace(string(text[:min(len(text), 32)])))
		if err != nil || label < 0 || label >= classes {
			return fmt.Errorf("%s: a class of %q, expected a number in 0..%d: correct it and pack the shard again", p.where(k.cls), text[:min(len(text), 32)], classes-1)
		}
		s.Files = append(s.Files, File{p, k.image})
		s.Labels = append(s.Labels, int32(label))
	}
	return nil
}

// addSamples collects the samples below a folder. Other files of a sample, such as .json and .txt, are ignored.
func addSamples(samples map[string]*sample, p fileSystem, dir string) error {
	entries, err := p.list(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.name)
		if e.dir {
			if err := addSamples(samples, p, name); err != nil {
				return err
			}
			continue
		}
		base, extension, _ := strings.Cut(e.name, ".")
		extension = strings.ToLower(extension)
		isImage := slices.Contains(imageExtensions, extension)
		if !isImage && extension != "cls" {
			continue
		}
		if e.problem != nil {
			return fmt.Errorf("%s: %w", p.where(name), e.problem)
		}
		key := path.Join(dir, base)
		if samples[key] == nil {
			samples[key] = &sample{}
		}
		into := &samples[key].cls
		if isImage {
			into = &samples[key].image
		}
		if *into != "" {
			return fmt.Errorf("%s: a second image or class of one sample, besides %s, expected one of each: pack the shard again", p.where(name), *into)
		}
		*into = name
	}
	return nil
}
