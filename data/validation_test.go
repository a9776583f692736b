package data

import (
	"errors"
	"slices"
	"testing"
)

// key is the pixels of an image.
func key(t *testing.T, images Images, i int) string {
	t.Helper()
	var p Picture
	if err := images.Picture(&p, i); err != nil {
		t.Fatal(err)
	}
	return string(p.Pix)
}

// Fails if an image of the test split is evaluated on, or one that is trained on; if classes have unequal shares; and if another opening
// of the set holds out other images.
func TestValidationImagesAreOfTheTrainingSplit(t *testing.T) {
	whole := openTest(t)
	var counts [10]int
	for i := range whole.Train.Len() {
		counts[whole.Train.Label(i)]++
	}
	open := func() *Set {
		set, err := Open(Source{Kind: "digits", Validation: 0.25}, 1)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	set := open()
	if got, want := set.Train.Len()+set.Test.Len(), whole.Train.Len(); got != want || set.Train.Len() != want*3/4 {
		t.Fatalf("%d training and %d validation images of %d", set.Train.Len(), set.Test.Len(), want)
	}
	var left, both []string
	for i := range whole.Train.Len() {
		left = append(left, key(t, whole.Train, i))
	}
	for _, images := range []Images{set.Train, set.Test} {
		for i := range images.Len() {
			both = append(both, key(t, images, i))
		}
	}
	slices.Sort(left)
	slices.Sort(both)
	if !slices.Equal(left, both) {
		t.Error("training and validation images are not those of the training split")
	}
	var held [10]int
	for i := range set.Test.Len() {
		held[set.Test.Label(i)]++
	}
	for c, n := range held {
		if n < counts[c]/4 || n > counts[c]/4+1 {
			t.Errorf("%d of %d images of class %d are held out", n, counts[c], c)
		}
	}
	again := open()
	for i := range set.Test.Len() {
		if key(t, set.Test, i) != key(t, again.Test, i) || set.Test.Label(i) != again.Test.Label(i) {
			t.Fatalf("image %d differs when the set is opened again", i)
		}
	}
}

// Fails if a fraction that leaves nothing on one side, or is none, is taken.
func TestImpossibleValidation(t *testing.T) {
	for _, fraction := range []float64{-0.1, 1, 1e-17, 1 - 1e-9} {
		if _, err := Open(Source{Kind: "digits", Validation: fraction}, 1); !errors.As(err, new(*OptionError)) {
			t.Errorf("data.validation_fraction = %v: %v", fraction, err)
		}
	}
}
