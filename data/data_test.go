package data

import (
	"math"
	"slices"
	"testing"
)

func openTest(t testing.TB) *Set {
	t.Helper()
	set, err := Open(Source{Kind: "digits"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// labelled is a collection of labels; its image i is filled with i.
type labelled []int

func (l labelled) Len() int        { return len(l) }
func (l labelled) Label(i int) int { return l[i] }
func (l labelled) Picture(dst *Picture, i int) error {
	dst.Reset(1, 1, 2)
	dst.Pix[0], dst.Pix[1] = uint8(i), uint8(i)
	return nil
}

// Fails if mean and deviation are of the wrong split or formula: the normalised training images have mean 0 and variance 1. The mean
// of 91,968 values near 1 in float32 is off by less than 1e-6.
func TestTrainingImagesAreNormalised(t *testing.T) {
	set := openTest(t)
	var n, sum, squares float64
	err := EachBatch(set, set.Train, 100, 0, 1, func(b *Batch) error {
		for _, v := range b.Images {
			n, sum, squares = n+1, sum+float64(v), squares+float64(v)*float64(v)
		}
		return nil
	})
	if err != nil || math.Abs(sum/n) > 1e-6 || math.Abs(squares/n-1) > 1e-6 {
		t.Errorf("mean %g, variance %g, error %v", sum/n, squares/n, err)
	}
}

// Fails on a division by zero for a constant channel, and channels mixed up.
func TestConstantChannelHasDeviationOne(t *testing.T) {
	s := &Set{Shape: Shape{Channels: 2}, Train: newMemory(1, 2, 1, 3)}
	if err := s.measure(); err != nil {
		t.Fatal(err)
	}
	mean, std := s.Mean, s.Std
	if !slices.Equal(mean, []float32{0, 0}) || !slices.Equal(std, []float32{1, 1}) {
		t.Errorf("mean %v std %v of a black image", mean, std)
	}
}

// Fails if the white of the digits is not a byte of 16.
func TestWhiteOfDigitsIs16(t *testing.T) {
	set := openTest(t)
	if v := levels(set.WhiteLevel()); set.White != 16 || v[16] != 1 || v[8] != 0.5 || v[0] != 0 {
		t.Errorf("white is %d", set.White)
	}
}
