package data

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The folders that hold the images to learn from and those to test on; of the latter the first that has classes counts.
var (
	trainFolder = "train"
	testFolders = []string{"test", "val", "valid"}
)

func isSplit(folder string) bool {
	return folder == trainFolder || slices.Contains(testFolders, folder)
}

// hidden says whether a file or folder is passed over: .DS_Store, ._cat.jpg, .ipynb_checkpoints.
func hidden(name string) bool { return strings.HasPrefix(name, ".") }

// file is an image as it came, not yet decoded.
type file struct {
	name    string // its last element orders the images of a class; the whole is what errors say
	encoded []byte // nil: to be read from name
}

// tree is an image folder, wherever it is kept.
type tree struct {
	splits map[string]map[string][]file // split, class: the class's images, in any order; a class may be empty
	found  []string                     // what lay where the splits should, for the error that misses them
}

// class makes sure that a class is there, with or without images.
func (t *tree) class(split, class string) {
	if t.splits == nil {
		t.splits = map[string]map[string][]file{}
	}
	if t.splits[split] == nil {
		t.splits[split] = map[string][]file{}
	}
	if _, ok := t.splits[split][class]; !ok && class != "" {
		t.splits[split][class] = nil
	}
}

func (t *tree) add(split, class string, f file) {
	t.class(split, class)
	t.splits[split][class] = append(t.splits[split][class], f)
}

func tooDeep(name string) error {
	return fmt.Errorf("%s: a folder inside a class folder, expected images there (train/CLASS/IMAGE): move its images up by one folder, or remove it", name)
}

// layout is what every complaint about missing folders ends with.
const layout = "expected train/CLASS/IMAGE and test/CLASS/IMAGE (or val/, valid/), possibly below one top folder: " +
	"arrange the images so, or correct data.path"

// load decodes all images and returns the set.
func (t *tree) load(name string) (*Set, error) {
	train := t.splits[trainFolder]
	if len(train) == 0 {
		if train != nil {
			return nil, fmt.Errorf("train/ has no class folders, %s", layout)
		}
		return nil, fmt.Errorf("no folder train/ (found: %s), %s", shorten(t.found), layout)
	}
	var test map[string][]file
	split := ""
	for _, split = range testFolders {
		if test = t.splits[split]; len(test) > 0 {
			break
		}
	}
	if len(test) == 0 {
		return nil, fmt.Errorf("no folder test/, val/ or valid/ with class folders beside train/, %s", layout)
	}
	classes := slices.Sorted(maps.Keys(train))
	for _, c := range slices.Sorted(maps.Keys(test)) {
		if _, ok := train[c]; !ok {
			return nil, fmt.Errorf("%s/%s: a class that train/ lacks, expected one of train's %d classes (%s): rename or remove it, or add train/%s",
				split, c, len(classes), shorten(classes), c)
		}
	}
	trainFiles, trainLabels, err := order(trainFolder, train, classes)
	if err != nil {
		return nil, err
	}
	testFiles, testLabels, err := order(split, test, classes)
	if err != nil {
		return nil, err
	}

	files := append(trainFiles, testFiles...)
	height, width, err := sizeOf(&files[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", files[0].name, err)
	}
	const channels, white = 3, 255
	a := newMemory(len(trainFiles), channels, height, width)
	b := newMemory(len(testFiles), channels, height, width)
	copy(a.labels, trainLabels)
	copy(b.labels, testLabels)
	err = decodeAll(files, height, width, func(i int) []uint8 {
		if i < a.Len() {
			return a.image(i)
		}
		return b.image(i - a.Len())
	})
	if err != nil {
		return nil, err
	}
	every := make([]int, a.Len())
	for i := range every {
		every[i] = i
	}
	set := &Set{Name: name, Classes: len(classes), ClassNames: classes, Channels: channels, Height: height, Width: width, Train: a, Test: b}
	set.Mean, set.Std = a.measure(every, white)
	return set, nil
}

// order lines up a split's images by class and name, with their labels.
func order(split string, of map[string][]file, classes []string) (files []file, labels []int32, err error) {
	for label, c := range classes {
		members, ok := of[c]
		if ok && len(members) == 0 {
			return nil, nil, fmt.Errorf("%s/%s: a class folder without images, expected one at least: add its images, or remove the folder from every split",
				split, c)
		}
		slices.SortStableFunc(members, func(a, b file) int { return cmp.Compare(a.name, b.name) })
		for i, f := range members {
			if i+1 < len(members) && members[i+1].name == f.name {
				continue // an archive that was appended to: the last one of a name counts, as where it is unpacked
			}
			files, labels = append(files, f), append(labels, int32(label))
		}
	}
	return files, labels, nil
}

// shorten lists names, the first few of many.
func shorten(names []string) string {
	const most = 6
	switch {
	case len(names) == 0:
		return "nothing"
	case len(names) > most:
		return strings.Join(names[:most], ", ") + ", ..."
	}
	return strings.Join(names, ", ")
}
