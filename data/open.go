package data

import (
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"strings"

	"lte/data/limit"
	"lte/data/packed"
	"lte/data/source"
)

// Source says where a data set comes from.
type Source struct {
	Kind string // one of Kinds; "auto", or nothing: digits where Path is empty, else found by looking
	Path string // of a folder, an archive, a file of the set, or a brace pattern of shards

	Classes      string  // of class folders: a file that names those to read, one a line; empty: all
	TestFraction float64 // of a set without a split, in (0, 1): what is set aside for the test; 0: 0.2

	Synthetic Synthetic // of kind synthetic: its shape

	Size      int    // pixels: side of what the model is fed; 0: the images' own size, which must then be one
	Fit       Fit    // how images come to that size, where Size is not 0; its Filter always
	Normalize string // named measures, see Normalizations; "auto", or nothing: those of the training images
	Workers   int    // goroutines that prepare images at once; 0: one

	Unread bool // open the set without decoding an image: for packing or listing, not for training
}

// OptionError is an error of a Source itself: an option out of range, or two that contradict each other or the set that is there.
// What is wrong with files is any other error.
type OptionError = source.OptionError

// Kinds returns the kinds of Source that Open knows.
func Kinds() []string { return append(source.Kinds(), "packed", "synthetic") }

// Open returns the data set of a source; docs/data.md has the kinds. Sets of small images of one size are decoded into
// memory, a byte a value, up to MostDecoded: 184 MB for CIFAR-10. Every process holds its own copy, so the ranks of a node
// need that much each. Images of other sets are decoded whenever they are asked for.
//
// The seed decides the split, where a data set comes without one, and nothing else: a caller passes the same seed
// whatever the run's own is, so that the test images of two runs agree. Errors say which file, what is wrong with it,
// what was expected, and what to do.
func Open(o Source, seed uint64) (*Set, error) {
	set, err := open(o, seed)
	if err == nil {
		err = set.prepare(o)
	}
	switch {
	case err == nil:
		return set, nil
	case o.Path != "":
		return nil, fmt.Errorf("data: opening %q: %w", o.Path, err)
	case o.Kind == "" || o.Kind == "auto":
		o.Kind = "digits"
	}
	return nil, fmt.Errorf("data: opening a set of kind %q: %w", o.Kind, err)
}

// prepare says how the set's images become what the model is fed.
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
	if o.Kind != "" && !slices.Contains(Kinds(), o.Kind) {
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
	if o.Kind == "packed" || (o.Kind == "" || o.Kind == "auto") && packed.Is(o.Path) {
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
	debug.FreeOSMemory() // what decoding left is more than the set, and the ranks of a node share its memory
	return set, nil
}
