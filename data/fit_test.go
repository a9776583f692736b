package data

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"lte/data/picture"
	"lte/random"
)

// album is a collection of pictures of many sizes, labelled by their indices.
type album []Picture

func newAlbum(n int) album {
	rng := random.Stream(1, "album")
	a := make(album, n)
	for i := range a {
		a[i].Reset(3, 3+rng.IntN(20), 3+rng.IntN(20))
		for j := range a[i].Pix {
			a[i].Pix[j] = uint8(rng.Uint32())
		}
	}
	return a
}

func (a album) Len() int        { return len(a) }
func (a album) Label(i int) int { return i }
func (a album) Picture(dst *Picture, i int) error {
	dst.Lend(a[i].Channels, a[i].Height, a[i].Width, a[i].Pix)
	return nil
}

func albumSet(n int) *Set {
	a := newAlbum(n)
	return &Set{Name: "album", Classes: n, Shape: Shape{Channels: 3, Height: 8, Width: 8}, Fit: Fit{Keep: 0.875},
		Mean: []float32{0.4, 0.5, 0.6}, Std: []float32{0.2, 0.3, 0.4}, Train: a, Test: a}
}

// torchvision's Resize(256) and CenterCrop(224), and the nearest to it for other shapes. Fails if the longer side is resized to the size of
// the shorter one, if the crop is not centred, or if a side is too short to crop.
func TestFitPlanEqualsTorchvision(t *testing.T) {
	for _, k := range []struct {
		height, width, toHeight, toWidth int
		want                             picture.Plan
	}{
		{375, 500, 224, 224, picture.Plan{Box: picture.Full(375, 500), Height: 256, Width: 341, Crop: picture.Box{Top: 16, Left: 58, Height: 224, Width: 224}}},
		{500, 375, 224, 224, picture.Plan{Box: picture.Full(500, 375), Height: 341, Width: 256, Crop: picture.Box{Top: 58, Left: 16, Height: 224, Width: 224}}},
		{256, 341, 224, 224, picture.Plan{Box: picture.Full(256, 341), Height: 256, Width: 341, Crop: picture.Box{Top: 16, Left: 58, Height: 224, Width: 224}}},
		{224, 224, 224, 224, picture.Uncropped(picture.Full(224, 224), 224, 224)},
		{32, 32, 224, 224, picture.Plan{Box: picture.Full(32, 32), Height: 256, Width: 256, Crop: picture.Box{Top: 16, Left: 16, Height: 224, Width: 224}}},
		{100, 100, 28, 56, picture.Plan{Box: picture.Full(100, 100), Height: 64, Width: 64, Crop: picture.Box{Top: 18, Left: 4, Height: 28, Width: 56}}},
	} {
		if got := (Fit{Keep: 0.875}).plan(k.height, k.width, k.toHeight, k.toWidth); got != k.want {
			t.Errorf("%d×%d to %d×%d: %+v, want %+v", k.width, k.height, k.toWidth, k.toHeight, got, k.want)
		}
	}
	rng := random.Stream(1, "test")
	for range 10000 {
		h, w, keep := 1+rng.IntN(600), 1+rng.IntN(600), 0.5+0.5*rng.Float64()
		toHeight, toWidth := 1+rng.IntN(300), 1+rng.IntN(300)
		p := Fit{Keep: keep}.plan(h, w, toHeight, toWidth)
		if p.Crop.Top < 0 || p.Crop.Left < 0 || p.Crop.Top+toHeight > p.Height || p.Crop.Left+toWidth > p.Width {
			t.Fatalf("%d×%d to %d×%d, %v kept: %+v", w, h, toWidth, toHeight, keep, p)
		}
	}
}

// Fails if an area or an aspect ratio is out of range, if a crop exceeds the picture, if a corner is never
// reached, or if areas are not drawn uniformly: up to 0.6 all fit into this picture, half of these are up to 0.34, and of
// 4000 draws the difference is less than five deviations, 250.
func TestResizedCropDraws(t *testing.T) {
	rng := random.Stream(1, "test")
	crop := ResizedCrop{Area: 0.08, Aspect: 4.0 / 3}
	const height, width = 400, 500
	small, medium := 0, 0
	least := [4]int{height, width, height, width} // to the top, left, bottom, right
	for range 4000 {
		b := crop.draw(height, width, rng)
		area, aspect := float64(b.Height*b.Width)/(height*width), float64(b.Width)/float64(b.Height)
		if area < 0.078 || area > 1 || aspect < 0.73 || aspect > 1.36 || b.Top < 0 || b.Left < 0 || b.Top+b.Height > height || b.Left+b.Width > width {
			t.Fatalf("%+v: area %v, aspect %v", b, area, aspect)
		}
		if area < 0.34 {
			small++
		} else if area < 0.6 {
			medium++
		}
		for i, v := range []int{b.Top, b.Left, height - b.Top - b.Height, width - b.Left - b.Width} {
			least[i] = min(least[i], v)
		}
	}
	if d := small - medium; d < -250 || d > 250 || medium < 1000 || slices.Max(least[:]) > 1 {
		t.Errorf("%d pieces of area up to 0.34, %d up to 0.6, nearest to the edges %v", small, medium, least)
	}
	// No crop of a strip has nearly its area: the centre, as wide as allowed.
	if b, want := (ResizedCrop{Area: 1, Aspect: 2}).draw(10, 100, rng), (picture.Box{Top: 0, Left: 40, Height: 10, Width: 20}); b != want {
		t.Errorf("of a strip %+v, want %+v", b, want)
	}
	if b, want := (ResizedCrop{Area: 1, Aspect: 2}).draw(100, 10, rng), (picture.Box{Top: 40, Left: 0, Height: 20, Width: 10}); b != want {
		t.Errorf("of a column %+v, want %+v", b, want)
	}
}

// Pictures of many sizes, prepared by the feed and directly. Fails if a crop depends on anything but (seed, epoch, image), if evaluation
// draws one, or if flip or normalisation are of another channel or image.
func TestFeedOfManySizes(t *testing.T) {
	set := albumSet(20)
	crop := ResizedCrop{Area: 0.2, Aspect: 1.5}
	f := NewFeed(set, FeedOptions{Seed: 3, Batch: 10, Size: 1, Augment: Augment{ResizedCrop: crop, Flip: true}})
	defer f.Close()
	s := NewSampler(20, 3)
	var p, out Picture
	var r picture.Resizer
	direct := func(plan picture.Plan, flip bool) (want []float32) {
		r.Resize(&out, &p, plan, picture.Bicubic)
		for i, v := range out.Pix {
			if flip {
				v = out.Pix[i-i%8+7-i%8]
			}
			want = append(want, (float32(v)/255-set.Mean[i/64])/set.Std[i/64])
		}
		return want
	}
	for step, b := range take(t, f, 7) {
		for j := range 10 {
			epoch, image := s.At(int64(step*10 + j))
			set.Train.Picture(&p, image)
			box := crop.draw(p.Height, p.Width, random.Stream(3, "resized crop", uint64(epoch), uint64(image)))
			flip := Augment{Flip: true}.draw(random.Stream(3, "augment", uint64(epoch), uint64(image))).flip
			if !sameBits(b.Images[j*192:(j+1)*192], direct(picture.Uncropped(box, 8, 8), flip)) || b.Labels[j] != image {
				t.Fatalf("step %d, image %d of the batch differs from its direct computation", step, j)
			}
		}
	}
	err := EachBatch(set, set.Test, 7, 0, 1, func(b *Batch) error {
		for j, image := range b.Labels {
			set.Test.Picture(&p, image)
			if !sameBits(b.Images[j*192:(j+1)*192], direct(set.Fit.plan(p.Height, p.Width, 8, 8), false)) {
				return fmt.Errorf("image %d is not the middle", image)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// unreadable are images none of which can be read, some only after a delay.
type unreadable map[int]time.Duration

func (unreadable) Len() int      { return 64 }
func (unreadable) Label(int) int { return 0 }
func (u unreadable) Picture(_ *Picture, i int) error {
	time.Sleep(u[i])
	return errImage
}

// Of several images that fail the first one of the batch is reported, even if others fail earlier.
func TestFirstFailureIsReported(t *testing.T) {
	s := NewSampler(64, 1)
	_, image := s.At(0)
	_, second := s.At(1)
	set := &Set{Name: "unreadable", Classes: 1, Shape: Shape{Channels: 1, Height: 2, Width: 2}, Workers: 4, Mean: []float32{0}, Std: []float32{1},
		Train: unreadable{image: 10 * time.Millisecond, second: 30 * time.Millisecond}}
	f := NewFeed(set, FeedOptions{Seed: 1, Batch: 8, Size: 1})
	defer f.Close()
	if _, err := f.Next(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("image %d of", image)) {
		t.Errorf("error %v, want one of image %d", err, image)
	}
}

// Fails if the result depends on the goroutine that prepares an image, or if batches are out of order.
func TestWorkersGiveTheSame(t *testing.T) {
	var want []Batch
	for _, workers := range []int{0, 1, 2, 3, 9} {
		set := albumSet(50)
		set.Workers = workers
		f := NewFeed(set, FeedOptions{Seed: 3, Batch: 16, Size: 1, Augment: everything})
		got := take(t, f, 12)
		f.Close()
		err := EachBatch(set, set.Test, 16, 1, 3, func(b *Batch) error {
			got = append(got, Batch{Images: slices.Clone(b.Images), Labels: slices.Clone(b.Labels)})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		if !sameBatches(got, want) {
			t.Errorf("%d workers: other batches", workers)
		}
		for _, how := range []broken{"error", "index", "exit"} {
			set := &Set{Name: "broken", Classes: 10, Shape: Shape{Channels: 1, Height: 2, Width: 2}, Workers: workers,
				Mean: []float32{0}, Std: []float32{1}, Train: how, Test: how}
			f := NewFeed(set, FeedOptions{Seed: 1, Batch: 8, Size: 1})
			if _, err := f.Next(); err == nil || workers > 1 && !strings.Contains(err.Error(), "image 2") {
				t.Errorf("%d workers, %s: error %v", workers, how, err)
			}
			f.Close()
		}
	}
}

// Fails if a name stands for other values, if those of one channel do not apply to three, or if those of three apply to one.
func TestNamedNormalizations(t *testing.T) {
	for name, want := range map[string]float32{"imagenet": (0.6 - 0.485) / 0.229, "half": 0.2, "mnist": (0.6 - 0.1307) / 0.3081} {
		set := albumSet(1)
		if err := set.prepare(Source{Normalize: name}); err != nil {
			t.Fatal(err)
		}
		x := slices.Repeat([]float32{0.6}, set.pixels())
		set.normalise(x)
		if math.Abs(float64(x[0]-want)) > 1e-6 {
			t.Errorf("%s: 0.6 becomes %v, want %v", name, x[0], want)
		}
	}
	digits := openTest(t)
	for name, words := range map[string]string{"imagenet": "data.normalize to auto or half", "none": "expected auto, cifar10"} {
		if err := digits.prepare(Source{Normalize: name}); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
