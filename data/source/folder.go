package source

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"lte/data/limit"
	"lte/internal/file"
)

// The folders of the training and of the test images; of the latter the first one with classes is used.
var (
	trainFolder = "train"
	testFolders = []string{"test", "val", "valid"}
)

// expected ends every error about missing folders.
const expected = "expected train/CLASS/IMAGE and test/CLASS/IMAGE (or val/, valid/), possibly below other folders: " +
	"arrange the images so, or correct data.path"

// isSplitFolder accepts a folder with train/; the root also with a test folder alone.
func isSplitFolder(_ fileSystem, dir string, entries []entry) bool {
	return slices.ContainsFunc(entries, func(e entry) bool {
		return e.dir && (e.name == trainFolder || dir == "." && slices.Contains(testFolders, e.name))
	})
}

// readSplitFolder reads an image folder with splits: ImageNet, or any set arranged like it.
func readSplitFolder(p fileSystem, dir string, o Options) (*Set, error) {
	keep, err := readClassList(o)
	if err != nil {
		return nil, err
	}
	train, err := classesOf(p, path.Join(dir, trainFolder), false)
	if err != nil {
		return nil, err
	}
	if len(train) == 0 {
		entries, err := p.list(dir)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(entries, func(e entry) bool { return e.dir && e.name == trainFolder }) {
			return nil, fmt.Errorf("train/ has no class folders, %s", expected)
		}
		return nil, fmt.Errorf("no folder train/ (found: %s), %s", shorten(entryNames(entries)), expected)
	}
	var test classFiles
	split := ""
	for _, split = range testFolders {
		if test, err = classesOf(p, path.Join(dir, split), false); err != nil {
			return nil, err
		}
		if len(test) > 0 {
			break
		}
	}
	if len(test) == 0 {
		return nil, fmt.Errorf("no folder test/, val/ or valid/ with class folders next to train/, %s", expected)
	}
	if train, err = keep.of(train); err != nil {
		return nil, err
	}
	if keep != nil {
		maps.DeleteFunc(test, func(class string, _ []string) bool { _, ok := train[class]; return !ok }) // train has the list's now
	}
	classes := slices.Sorted(maps.Keys(train))
	for _, c := range slices.Sorted(maps.Keys(test)) {
		if _, ok := train[c]; !ok {
			return nil, fmt.Errorf("%s/%s: a class that is missing in train/, expected one of train's %d classes (%s): rename or remove it, or add train/%s",
				split, c, len(classes), shorten(classes), c)
		}
	}
	s := &Set{Kind: "folder", Classes: classes}
	if err := s.Train.addFiles(p, path.Join(dir, trainFolder), train, classes); err != nil {
		return nil, err
	}
	return s, s.Test.addFiles(p, path.Join(dir, split), test, classes)
}

// classFiles lists the files of each class. A class is named by its folder's path from its split on.
type classFiles map[string][]string

// classesOf lists the classes below a folder: every folder that holds files, at any depth. Files of the folder itself are ignored. With
// onlyJPEG, folders below classes and all files but .jpg are ignored too. A folder that does not exist has no classes.
func classesOf(p fileSystem, dir string, onlyJPEG bool) (classFiles, error) {
	classes := classFiles{}
	linked := map[folder]string{} // targets of links
	var walk func(class string) (holds bool, err error)
	walk = func(class string) (holds bool, err error) {
		entries, err := p.list(path.Join(dir, class))
		if err != nil {
			return false, err
		}
		var files []string
		below := ""
		for _, e := range entries {
			name := path.Join(dir, class, e.name)
			switch {
			case e.dir && onlyJPEG && class != "":
			case e.dir && e.target != nil && linked[*e.target] != "":
				return false, fmt.Errorf("%s: a link to the same folder as %s, expected each class once: remove one of them", p.where(name), linked[*e.target])
			case e.dir:
				if e.target != nil {
					linked[*e.target] = p.where(name)
				}
				under, err := walk(path.Join(class, e.name))
				if err != nil {
					return false, err
				}
				if under {
					below = name
				}
			case class == "":
				if e.problem != nil {
					return false, fmt.Errorf("%s: %w", p.where(name), e.problem)
				}
			case onlyJPEG && strings.ToLower(path.Ext(e.name)) != ".jpg":
			case e.problem != nil:
				return false, fmt.Errorf("%s: %w", p.where(name), e.problem)
			default:
				files = append(files, e.name)
			}
		}
		if len(files) > 0 && below != "" {
			return false, fmt.Errorf("%s: a folder inside a class folder that has images itself, expected images in one of both: move its images up by one folder, or remove it", p.where(below))
		}
		if class != "" && below == "" {
			classes[class] = files
			return true, nil
		}
		return below != "", nil
	}
	entries, err := p.list(path.Dir(dir))
	if err != nil || dir != "." && !slices.ContainsFunc(entries, func(e entry) bool { return e.dir && e.name == path.Base(dir) }) {
		return nil, err
	}
	_, err = walk("")
	return classes, err
}

// addFiles appends images ordered by class and name, with their labels.
func (s *Split) addFiles(p fileSystem, dir string, of classFiles, classes []string) error {
	for label, c := range classes {
		files, ok := of[c]
		if ok && len(files) == 0 {
			return fmt.Errorf("%s: a class folder without images, expected one at least: add its images, or remove the folder from every split",
				p.where(path.Join(dir, c)))
		}
		for _, name := range files {
			s.Files = append(s.Files, File{p, path.Join(dir, c, name)})
			s.Labels = append(s.Labels, int32(label))
		}
	}
	return nil
}

// caltech256 matches the class folders of Caltech-256 (Griffin, Holub and Perona 2007), 001.ak47 to 257.clutter.
var caltech256 = regexp.MustCompile(`^\d{3}\.`)

// readUnsplitFolder reads class folders without a split: Caltech-256, SUN397. found lists the entries of the root.
func readUnsplitFolder(p fileSystem, o Options, found []string) (*Set, error) {
	keep, err := readClassList(o)
	if err != nil {
		return nil, err
	}
	dir, entries, err := classRoot(p)
	if err != nil {
		return nil, err
	}
	onlyJPEG := true // Caltech-256 has a script and a folder of other images among its class folders
	for _, e := range entries {
		onlyJPEG = onlyJPEG && (!e.dir || caltech256.MatchString(e.name))
		if e.dir && slices.Contains([]string{"train", "training", "test", "testing", "val", "valid", "validation"}, strings.ToLower(e.name)) {
			return nil, fmt.Errorf("no folder train/ (found: %s), %s", shorten(found), expected)
		}
	}
	all, err := classesOf(p, dir, onlyJPEG)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(slices.Collect(maps.Values(all)), func(files []string) bool { return len(files) > 0 }) {
		return nil, fmt.Errorf("no image set found (but: %s), expected one of %s, or %s", shorten(found), kindList(), expected)
	}
	if all, err = keep.of(all); err != nil {
		return nil, err
	}
	classes := slices.Sorted(maps.Keys(all))
	s := &Set{Kind: "folder", Classes: classes}
	if found, err := s.addSUN(p, dir, all); found || err != nil {
		return s, err
	}
	return s, s.Train.addFiles(p, dir, all, classes)
}

// classRoot returns the folder of the class folders: the root, or the first with several folders below single ones.
func classRoot(p fileSystem) (dir string, entries []entry, err error) {
	for dir = "."; ; {
		if entries, err = p.list(dir); err != nil {
			return "", nil, err
		}
		var below []string
		for _, e := range entries {
			if e.dir {
				below = append(below, path.Join(dir, e.name))
			}
		}
		if len(below) != 1 {
			return dir, entries, nil
		}
		under, err := p.list(below[0])
		if err != nil {
			return "", nil, err
		}
		if !slices.ContainsFunc(under, func(e entry) bool { return e.dir }) {
			return dir, entries, nil
		}
		dir = below[0]
	}
}

func entryNames(entries []entry) (names []string) {
	for _, e := range entries {
		names = append(names, e.name)
	}
	return names
}

// classList lists the class folders to read; nil: all.
type classList []string

// readClassList reads data.classes: one class folder per line, such as n01440764 or /a/abbey; text after the name is ignored.
func readClassList(o Options) (list classList, err error) {
	if o.ClassList == "" {
		return nil, nil
	}
	text, err := file.Read(o.ClassList, limit.Text)
	if err != nil {
		return nil, fmt.Errorf("%w; correct data.classes", err)
	}
	for _, line := range linesOf(text) {
		list = append(list, strings.Trim(strings.Fields(line)[0], "/"))
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: no class, expected one class folder a line: correct data.classes", o.ClassList)
	}
	return list, nil
}

// of returns the classes of the list, all of which must exist.
func (l classList) of(all classFiles) (classFiles, error) {
	if l == nil {
		return all, nil
	}
	kept := classFiles{}
	for _, c := range l {
		files, ok := all[c]
		if !ok {
			return nil, fmt.Errorf("data.classes names %q, which is none of the %d class folders (%s): correct the list, or add the folder",
				c, len(all), shorten(slices.Sorted(maps.Keys(all))))
		}
		kept[c] = files
	}
	return kept, nil
}
