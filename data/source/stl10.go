package source

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// isSTL10: Coates, Lee and Ng (https://cs.stanford.edu/~acoates/stl10/), binary version.
func isSTL10(_ fileSystem, _ string, entries []entry) bool {
	return slices.ContainsFunc(entries, func(e entry) bool { return strings.HasSuffix(e.name, "_X.bin") && !e.dir })
}

// readSTL10 reads 5,000 and 8,000 images of 96×96 in ten classes.
func readSTL10(p fileSystem, dir string, _ Options) (*Set, error) {
	x := pixels{3, 96, 96, 10, nil}
	s := &Set{Kind: "stl10", Channels: x.channels, Height: x.height, Width: x.width, White: 255}
	err := s.Train.readSTL10(p, path.Join(dir, "train"), x)
	if err == nil {
		err = s.Test.readSTL10(p, path.Join(dir, "test"), x.after(s.Train))
	}
	if err == nil {
		s.Classes, err = namesOf(p, path.Join(dir, "class_names.txt"), x.classes)
	}
	return s, err
}

// readSTL10 reads the two files of a split: labels from 1, and images whose planes are stored column by column.
func (s *Split) readSTL10(p fileSystem, split string, x pixels) error {
	labels, err := readFile(p, split+"_y.bin")
	if err != nil {
		return err
	}
	content, err := readFile(p, split+"_X.bin")
	if err != nil {
		return err
	}
	if len(content)%x.image() != 0 || len(content)/x.image() != len(labels) || len(labels) == 0 {
		return fmt.Errorf("%s: %d bytes, expected %d, an image of 3×96×96 for each of the %d labels of %s: copy or download them again",
			p.where(split+"_X.bin"), len(content), len(labels)*x.image(), len(labels), p.where(split+"_y.bin"))
	}
	for i, v := range labels {
		if err := x.label(&s.Labels, v, 1, p.where(split+"_y.bin"), i); err != nil {
			return err
		}
	}
	transpose(content, x.height, x.width)
	s.Pixels = content
	return nil
}

// transpose converts planes stored column by column, (width, height) each, to planes stored row by row, in place.
func transpose(planes []uint8, height, width int) {
	area := height * width
	scratch := make([]uint8, area)
	for from := 0; from < len(planes); from += area {
		plane := planes[from : from+area]
		copy(scratch, plane)
		for y := range height {
			for x := range width {
				plane[y*width+x] = scratch[x*height+y]
			}
		}
	}
}
