package source

import (
	"fmt"
	"path"
	"strings"
)

// addSUN adds the first of the ten splits of SUN397 (Xiao et al. 2010, https://vision.princeton.edu/projects/2010/SUN/):
// Training_01.txt and Testing_01.txt, of lines such as /a/abbey/sun_aaalbzqrimafwbiv.jpg, next to the classes or at the root. found is
// false if they do not exist. Images of classes that are not read are ignored.
func (s *Set) addSUN(p fileSystem, dir string, all classFiles) (found bool, err error) {
	const train, test = "Training_01.txt", "Testing_01.txt"
	for _, at := range []string{dir, "."} {
		entries, err := p.list(at)
		if err != nil {
			return false, err
		}
		if has(entries, train) && has(entries, test) {
			if err := s.Train.addList(p, dir, path.Join(at, train), s.Classes, all); err != nil {
				return true, err
			}
			return true, s.Test.addList(p, dir, path.Join(at, test), s.Classes, all)
		}
	}
	return false, nil
}

// addList appends the images that a file lists as paths from dir.
func (s *Split) addList(p fileSystem, dir, list string, classes []string, all classFiles) error {
	lines, err := readLines(p, list)
	if err != nil {
		return err
	}
	exists, label := map[string]bool{}, map[string]int32{}
	for l, c := range classes {
		label[c] = int32(l)
		for _, name := range all[c] {
			exists[path.Join(c, name)] = true
		}
	}
	s.Labels = []int32{}
	for _, line := range lines {
		name := strings.Trim(line, "/")
		class, ok := label[path.Dir(name)]
		if !ok {
			continue
		}
		if !exists[name] {
			return fmt.Errorf("%s: names %s, which is not in %s: add the image, or remove the list and its partner", p.where(list), line, p.where(dir))
		}
		s.Files, s.Labels = append(s.Files, File{p, path.Join(dir, name)}), append(s.Labels, class)
	}
	return nil
}
