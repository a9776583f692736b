package data

import (
	"cmp"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"strings"

	"lte/data/limit"
	"lte/data/packed"
	"lte/data/source"
)

// Source describes a data set to open.
type Source struct {
	Kind string // one of Kinds; "auto" or empty: digits where Path is empty, otherwise detected
	Path string // of a folder, an archive, a file of the set, or a brace pattern of shards

	Classes      string  // a file that lists the class folders to read, one per line; empty: all
	TestFraction float64 // share of the test images of a set without a split, in (0, 1); 0: 0.2
	Validation   float64 // share of the training images of each class that replace the test images, in [0, 1)

	Synthetic Synthetic // shape of a set of kind synthetic

	Size      int    // pixels: side of the model's input; 0: the images' size, which must then be the same for all
	Fit       Fit    // how images are resized where Size is not 0; Filter applies always
	Normalize string // imagenet, cifar10, cifar100, stl10, mnist or half; "auto" or empty: mean and deviation of the training images
	Workers   int    // goroutines that prepare images; 0: one

	Unread bool // open the set without decoding images: for packing or listing, not for training
}

// OptionError is an error of a Source itself: an option out of range, or one that contradicts another or the set. Any other error is about
// the files.
type OptionError = source.OptionError

// Kinds returns the values of Source.Kind.
func Kinds() []string { return append(source.Kinds(), "packed", "synthetic") }

// Open opens a data set; docs/data.md describes the kinds. Sets of small images of one size are decoded into memory, one byte per value, up to
// MaxDecoded: 184 MB for CIFAR-10. Every rank of a node holds its own copy. Images of other sets are decoded on demand.
//
// The seed determines the split of a set that has none, and the validation images, and nothing else: a caller passes the same seed whatever the run's is, so that all
// runs have the same test images. Errors say which file, what is wrong, what was expected, and what to do.
func Open(o Source, seed uint64) (*Set, error) {
	o.Kind = cmp.Or(o.Kind, "auto")
	set, err := open(o, seed)
	if err == nil {
		err = set.holdOut(o.Validation, seed)
	}
	if err == nil {
		err = set.prepare(o)
	}
	switch {
	case err == nil:
		return set, nil
	case o.Path != "":
		return nil, fmt.Errorf("data: opening %q: %w", o.Path, err)
	case o.Kind == "auto":
		o.Kind = "digits"
	}
	return nil, fmt.Errorf("data: opening a set of kind %q: %w", o.Kind, err)
}

// prepare sets how the set's images become the model's input.
func (s *Set) prepare(o Source) error {
	s.Workers, s.Fit.Filter = o.Workers, o.Fit.Filter
	switch {
	case o.Unread:
		return nil
	case o.Size < 0 || o.Size > limit.Side:
		return &OptionError{Problem: fmt.Sprintf("data.size is %d, expected 0 to %d", o.Size, limit.Side)}
	case o.Size == 0 && s.sizes != nil:
		return &OptionError{Problem: s.sizes.Error()}
	case o.Size > 0 && o.Fit.Keep != 0 && !(o.Fit.Keep > 0 && o.Fit.Keep <= 1 && float64(o.Size)/o.Fit.Keep <= math.MaxInt32):
		return &OptionError{Problem: fmt.Sprintf("data.keep is %v, expected 1 at most, and %.3g at least with data.size = %d", o.Fit.Keep, float64(o.Size)/math.MaxInt32, o.Size)}
	case o.Size > 0:
		s.Height, s.Width, s.Fit = o.Size, o.Size, o.Fit
	}
	if o.Normalize == "" || o.Normalize == "auto" {
		return s.measure()
	}
	return s.normalizeBy(o.Normalize)
}

func open(o Source, seed uint64) (*Set, error) {
	if !slices.Contains(Kinds(), o.Kind) {
		return nil, &OptionError{Problem: fmt.Sprintf("unknown data.kind %q: expected one of %s", o.Kind, strings.Join(Kinds(), ", "))}
	}
	if o.Kind == "synthetic" {
		if o.Path != "" {
			return nil, &OptionError{Problem: "data.kind is synthetic, but data.path is set: leave data.path empty, or set data.kind to auto"}
		}
		return o.Synthetic.open()
	}
	if o.Kind == "packed" && o.Path == "" {
		return nil, &OptionError{Problem: "data.kind is packed, but data.path is empty: say where the images are, or set data.kind to digits"}
	}
	if o.Kind == "packed" || o.Kind == "auto" && packed.Is(o.Path) {
		return openPacked(o.Path)
	}
	from, err := source.Open(source.Options{Path: o.Path, Kind: o.Kind, ClassList: o.Classes, TestFraction: o.TestFraction, Seed: seed})
	if err != nil {
		return nil, err
	}
	set := &Set{Kind: from.Kind, Name: from.Name, Classes: len(from.Classes), ClassNames: from.Classes, White: from.White}
	if err := set.load(from, o.Unread); err != nil {
		return nil, err
	}
	debug.FreeOSMemory() // decoding leaves more garbage than the set needs memory, and the ranks of a node share it
	return set, nil
}

// openPacked opens a set written by lte data pack: its pictures stay in the mapped files.
func openPacked(folder string) (*Set, error) {
	p, err := packed.Open(folder)
	if err != nil {
		return nil, err
	}
	set := &Set{Kind: "packed", Name: p.Name, Classes: p.Classes, ClassNames: p.ClassNames, Shape: Shape{Channels: p.Channels}, White: p.White,
		Mean: p.Mean, Std: p.Std, Train: p.Train, Test: p.Test}
	set.Height, set.Width = p.Train.Size(0)
	for _, images := range []*packed.Images{p.Train, p.Test} {
		for i := range images.Len() {
			if h, w := images.Size(i); h != set.Height || w != set.Width {
				set.sizes = fmt.Errorf("pictures of %d×%d and of %d×%d pixels: set data.size, to which all are resized", set.Width, set.Height, w, h)
				return set, nil
			}
		}
	}
	return set, nil
}

// Pack writes an open set into a folder; see packed.Write.
func Pack(folder string, set *Set, o packed.Options) (packed.Unreadable, error) {
	d := packed.Description{Name: set.Name, Classes: set.Classes, ClassNames: set.ClassNames, Channels: set.Channels, White: set.WhiteLevel()}
	return packed.Write(folder, packed.Source{Description: d, Train: set.Train, Test: set.Test}, o)
}
