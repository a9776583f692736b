package source

import (
	"fmt"
	"path"
	"strings"
)

// splitLists are a set's own lists of images, as paths from the folder of the classes.
type splitLists struct {
	train, test         []string
	trainName, testName string // the files
}

// sunLists reads the first of the ten splits of SUN397 (Xiao et al. 2010, https://vision.princeton.edu/projects/2010/SUN/):
// Training_01.txt and Testing_01.txt, of lines such as /a/abbey/sun_aaalbzqrimafwbiv.jpg, next to the classes or at the root. It returns
// nil if they do not exist.
func sunLists(p fileSystem, dir string) (*splitLists, error) {
	for _, at := range []string{dir, "."} {
		entries, err := p.list(at)
		if err != nil {
			return nil, err
		}
		if !has(entries, "Training_01.txt") || !has(entries, "Testing_01.txt") {
			continue
		}
		l := &splitLists{trainName: path.Join(at, "Training_01.txt"), testName: path.Join(at, "Testing_01.txt")}
		if l.train, err = readLines(p, l.trainName); err != nil {
			return nil, err
		}
		l.test, err = readLines(p, l.testName)
		return l, err
	}
	return nil, nil
}

// addLists appends the images of the lists; images of classes that are not read are ignored.
func (s *Set) addLists(p fileSystem, dir string, all classFiles, lists *splitLists) error {
	exists := map[string]bool{}
	label := map[string]int32{}
	for l, c := range s.Classes {
		label[c] = int32(l)
		for _, name := range all[c] {
			exists[path.Join(c, name)] = true
		}
	}
	for _, l := range []struct {
		split *Split
		name  string
		lines []string
	}{{&s.Train, lists.trainName, lists.train}, {&s.Test, lists.testName, lists.test}} {
		l.split.Labels = []int32{}
		for _, line := range l.lines {
			name := strings.Trim(line, "/")
			class, ok := label[path.Dir(name)]
			if !ok {
				continue
			}
			if !exists[name] {
				return fmt.Errorf("%s: names %s, which is not in %s: add the image, or remove the list and its partner", p.where(l.name), line, p.where(dir))
			}
			l.split.Files = append(l.split.Files, File{p, path.Join(dir, name)})
			l.split.Labels = append(l.split.Labels, class)
		}
	}
	return nil
}
