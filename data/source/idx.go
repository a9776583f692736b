package source

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"lte/data/limit"
)

// The IDX format of MNIST (LeCun, Cortes and Burges, http://yann.lecun.com/exdb/mnist/), Fashion-MNIST, KMNIST and EMNIST:
// a magic number of two zeros, the type (8: bytes) and the number of dimensions, each dimension as a big-endian uint32, and
// the values. Files may be compressed by gzip or zstd.

// idxName parses the name of a file of images: emnist-letters-train-images-idx3-ubyte.gz has the prefix emnist-letters-; train reports
// its split.
func idxName(name string) (prefix string, train, ok bool) {
	before, after, found := strings.Cut(name, "-images")
	if !found || !strings.HasPrefix(after[min(1, len(after)):], "idx3-ubyte") {
		return "", false, false
	}
	for _, split := range []string{"train", "t10k", "test"} {
		if prefix, ok = strings.CutSuffix(before, split); ok {
			return prefix, split == "train", true
		}
	}
	return "", false, false
}

func isIDX(_ fileSystem, _ string, entries []entry) bool {
	return slices.ContainsFunc(entries, func(e entry) bool { _, _, ok := idxName(e.name); return ok && !e.dir })
}

func readIDX(p fileSystem, dir string, _ Options) (*Set, error) {
	entries, err := p.list(dir)
	if err != nil {
		return nil, err
	}
	type images struct{ train, test string } // files
	sets := map[string]*images{}             // by prefix
	for _, e := range entries {
		prefix, train, ok := idxName(e.name)
		if !ok || e.dir {
			continue
		}
		if sets[prefix] == nil {
			sets[prefix] = &images{}
		}
		into := &sets[prefix].test
		if train {
			into = &sets[prefix].train
		}
		if *into == "" { // otherwise the same file, compressed and not
			*into = e.name
		}
	}
	prefixes := slices.Sorted(maps.Keys(sets))
	prefix := prefixes[0]
	if s, ok := p.(singleFile); ok {
		prefix, _, _ = idxName(s.file)
	} else if len(prefixes) > 1 {
		return nil, fmt.Errorf("%s: several sets (%s), expected one: set data.path to the train-images file of the one that is meant, unpacked from its archive",
			p.where(dir), shorten(prefixes))
	}
	files := sets[prefix]
	if files.train == "" || files.test == "" {
		return nil, fmt.Errorf("%s: files of images for one split alone (%s%s), expected train-images-idx3-ubyte and t10k-images-idx3-ubyte (or test-images-...): copy or download the set again",
			p.where(dir), files.train, files.test)
	}
	set := &Set{Kind: "idx", Channels: 1, White: 255, Name: strings.TrimSuffix(prefix, "-")}
	if err := set.Train.readIDX(p, dir, files.train, set); err != nil {
		return nil, err
	}
	set.Classes = numbers(int(slices.Max(set.Train.Labels)) + 1)
	return set, set.Test.readIDX(p, dir, files.test, set)
}

// readIDX reads images and their labels. Test images must have the size of the training images, which is in set.
//
// EMNIST (Cohen et al. 2017) stores each image column by column, and numbers its letters from 1.
func (s *Split) readIDX(p fileSystem, dir, name string, set *Set) error {
	name = path.Join(dir, name)
	size, content, err := idxContent(p, name, 3)
	if err != nil {
		return err
	}
	if set.Height == 0 {
		set.Height, set.Width = size[1], size[2]
	}
	if set.Height != size[1] || set.Width != size[2] {
		return fmt.Errorf("%s: at byte 8 images of %d×%d pixels, expected %d×%d like the training images: copy or download the set again",
			p.where(name), size[2], size[1], set.Width, set.Height)
	}
	labelsName := strings.NewReplacer("-images", "-labels", "idx3", "idx1").Replace(path.Base(name))
	labelsName = path.Join(dir, labelsName)
	count, labels, err := idxContent(p, labelsName, 1)
	if err != nil {
		return err
	}
	if count[0] != size[0] {
		return fmt.Errorf("%s: at byte 4 %d labels, expected %d, one for each image of %s: copy or download them again",
			p.where(labelsName), count[0], size[0], p.where(name))
	}
	x, first := pixels{1, set.Height, set.Width, 256, nil}, 0
	if set.Classes != nil {
		x.classes = len(set.Classes)
		x = x.after(set.Train)
	}
	if strings.HasPrefix(path.Base(name), "emnist-") {
		transpose(content, set.Height, set.Width)
		if strings.HasPrefix(path.Base(name), "emnist-letters-") {
			first = 1
		}
	}
	for i, v := range labels {
		if err := x.label(&s.Labels, v, first, p.where(labelsName), 8+i); err != nil {
			return err
		}
	}
	s.Pixels = content
	return nil
}

// idxContent reads an IDX file of bytes with that many dimensions, none of them 0. A file that does not exist may exist with or without
// compression.
func idxContent(p fileSystem, name string, dimensions int) (size []int, content []byte, err error) {
	name, err = existingName(p, name)
	if err != nil {
		return nil, nil, err
	}
	fail := func(format string, args ...any) ([]int, []byte, error) {
		return nil, nil, fmt.Errorf("%s: "+format+": copy or download it again", append([]any{p.where(name)}, args...)...)
	}
	file, err := readFile(p, name)
	if err != nil {
		return nil, nil, err
	}
	format := compression(file)
	r, err := unpack(bytes.NewReader(file), format)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", p.where(name), err)
	}
	defer r.Close()
	head := make([]byte, 4+4*dimensions)
	if n, err := io.ReadFull(r, head); err != nil {
		return fail("ends at byte %d (%w), expected a header of %d bytes", n, err, len(head))
	}
	if want := []byte{0, 0, 8, byte(dimensions)}; !bytes.Equal(head[:4], want) {
		return fail("begins with the bytes % x, expected % x, the magic number of IDX with bytes in %d dimensions", head[:4], want, dimensions)
	}
	total := int64(1)
	for d := range dimensions {
		n, most := binary.BigEndian.Uint32(head[4+4*d:]), limit.PixelFile/total
		switch d {
		case 1: // height
			most = min(most, limit.Side)
		case 2: // width
			most = min(most, limit.Side, int64(limit.Pixels/size[1]))
		}
		if n == 0 || int64(n) > most {
			return fail("at byte %d a dimension of %d, expected 1 to %d", 4+4*d, n, most)
		}
		size = append(size, int(n))
		total *= int64(n)
	}
	switch {
	case format == "":
		content = file[len(head):]
	case total > limit.Unpacked(int64(len(file))):
		return nil, nil, fmt.Errorf("%s: %w", p.where(name), errExpands)
	default:
		if content, err = appendAll(nil, io.LimitReader(r, total+1), total, total+1); errors.As(err, new(*beyondLimit)) {
			return nil, nil, fmt.Errorf("%s: %w", p.where(name), err)
		}
		if err != nil {
			return fail("after its header: %w", err)
		}
	}
	if n := int64(len(content)); n != total {
		return fail("%d bytes from byte %d on, expected %d for sizes %v", n, len(head), total, size)
	}
	return size, content, nil
}

// existingName returns the name under which a file exists: the one given, or with or without .gz.
func existingName(p fileSystem, name string) (string, error) {
	entries, err := p.list(path.Dir(name))
	if err != nil {
		return "", err
	}
	plain := strings.TrimSuffix(name, ".gz")
	for _, n := range []string{name, plain, plain + ".gz"} {
		if has(entries, path.Base(n)) {
			return n, nil
		}
	}
	return name, nil // reading it gives the error
}
