package data

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lte/random"
)

var jitter = Augment{Affine: Affine{Rotate: 10, Shift: 1, Scale: 0.1, Shear: 5}}

// take returns copies of the next n batches.
func take(t testing.TB, f *Feed, n int) (batches []Batch) {
	t.Helper()
	for range n {
		b, err := f.Next()
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, Batch{Images: slices.Clone(b.Images), Labels: slices.Clone(b.Labels)})
	}
	return batches
}

func sameBatches(a, b []Batch) bool {
	return slices.EqualFunc(a, b, func(x, y Batch) bool {
		return sameBits(x.Images, y.Images) && slices.Equal(x.Labels, y.Labels)
	})
}

// The feed compared with images prepared one by one. Fails if a batch is overwritten while the caller has it, if batches are out of order,
// if a buffer or a stream is carried over, or if labels are of other images.
func TestFeedIsDirectComputation(t *testing.T) {
	set := openTest(t)
	for _, augment := range []Augment{{}, jitter, {Flip: true}, {Crop: 2, Flip: true}, {Affine: jitter.Affine, Crop: 1, Flip: true}} {
		o := FeedOptions{Seed: 3, Batch: 100, Rank: 1, Size: 3, Augment: augment}
		f := NewFeed(set, o)
		s := NewSampler(set.Train.Len(), o.Seed)
		draws := make([]Draw, o.Batch)
		var p Picture
		for step := range 12 { // more than two epochs
			b, err := f.Next()
			if err != nil {
				t.Fatal(err)
			}
			if step%4 == 0 {
				time.Sleep(2 * time.Millisecond) // lets the worker run ahead as far as it may
			}
			s.Batch(draws, step, o.Rank, o.Size)
			for j, d := range draws {
				x, want := make([]float32, 64), make([]float32, 64)
				if err := set.Train.Picture(&p, d.Image); err != nil {
					t.Fatal(err)
				}
				for i, v := range p.Pix {
					x[i] = float32(v) / 16
				}
				if augment == (Augment{}) {
					copy(want, x)
				} else {
					rng := random.Stream(3, "augment", uint64(d.Epoch), uint64(d.Image))
					augment.Apply(want, x, make([]float32, 64), 1, 8, 8, rng)
				}
				for i := range want {
					want[i] = (want[i] - set.Mean[0]) / set.Std[0]
				}
				if !sameBits(b.Images[j*64:(j+1)*64], want) || b.Labels[j] != set.Train.Label(d.Image) {
					t.Fatalf("step %d, image %d of the batch differs from its direct computation", step, j)
				}
			}
		}
		f.Close()
	}
}

// Fails if augmentation depends on the rank, the number of ranks or the position in a batch: the global batch is the same, bit for bit, for
// any number of ranks.
func TestFeedsTogetherIndependentOfRanks(t *testing.T) {
	set := openTest(t)
	const global, steps = 240, 7 // beyond an epoch
	var want []Batch
	for _, size := range []int{1, 2, 3, 8} {
		together := make([]Batch, steps)
		for k := range size {
			f := NewFeed(set, FeedOptions{Seed: 4, Batch: global / size, Rank: k, Size: size, Augment: jitter})
			for step, b := range take(t, f, steps) {
				together[step].Images = append(together[step].Images, b.Images...)
				together[step].Labels = append(together[step].Labels, b.Labels...)
			}
			f.Close()
		}
		if want == nil {
			want = together
		}
		if !sameBatches(together, want) {
			t.Errorf("%d ranks see other images than one", size)
		}
	}
}

// The same N heads on 1, 2, 4 ranks, with H = N/ranks per rank: head h of step t gets the positions from (t·N + h)·b on. Fails if a rank's
// heads get other mini-batches, or in another order, or if augmentation depends on the position.
func TestHeadsKeepTheirImages(t *testing.T) {
	set := openTest(t)
	const heads, b, steps = 8, 15, 25 // two epochs
	all := Augment{Affine: jitter.Affine, Crop: 2, Flip: true}
	s := NewSampler(set.Train.Len(), 4)
	var want []Batch // (steps, heads), as from a rank each
	for h := range heads {
		f := NewFeed(set, FeedOptions{Seed: 4, Batch: b, Rank: h, Size: heads, Augment: all})
		want = append(want, take(t, f, steps)...)
		f.Close()
	}
	for _, ranks := range []int{1, 2, 4} {
		each := heads / ranks
		for rank := range ranks {
			f := NewFeed(set, FeedOptions{Seed: 4, Batch: each * b, Rank: rank, Size: ranks, Augment: all})
			for step, got := range take(t, f, steps) {
				for i := range each {
					h := rank*each + i
					share := Batch{Images: got.Images[i*b*64 : (i+1)*b*64], Labels: got.Labels[i*b : (i+1)*b]}
					if !sameBatches([]Batch{share}, want[h*steps+step:h*steps+step+1]) {
						t.Fatalf("%d ranks, step %d: head %d sees other images", ranks, step, h)
					}
					for j, label := range share.Labels {
						if _, image := s.At(int64((step*heads+h)*b + j)); set.Train.Label(image) != label {
							t.Fatalf("%d ranks, step %d: head %d's image %d is not of its position", ranks, step, h, j)
						}
					}
				}
			}
			f.Close()
		}
	}
}

// data.share = "shard": eight heads on 1, 2, 4 ranks get the same images as on one rank each, all from their own shards; a feed that starts
// within an epoch continues with the next image.
func TestShardsIndependentOfRanks(t *testing.T) {
	set := openTest(t)
	const heads, b, steps, start = 8, 15, 25, 17
	want := map[[2]int]Batch{} // of (head, step)
	for h := range heads {
		s, draws := NewShard(set.Train.Len(), 4, h, heads), make([]Draw, b)
		f := NewFeed(set, FeedOptions{Seed: 4, Batch: b, Rank: h, Size: heads, Shards: heads, Augment: jitter})
		for step, got := range take(t, f, steps) {
			want[[2]int{h, step}] = got
			s.Batch(draws, step, 0, 1)
			for j, d := range draws {
				if got.Labels[j] != set.Train.Label(d.Image) || d.Epoch != int64((step*b+j)/len(s.all)) {
					t.Fatalf("head %d, step %d: image %d is not of the shard's epoch", h, step, j)
				}
			}
		}
		f.Close()
	}
	for _, ranks := range []int{1, 2, 4, 8} {
		for rank := range ranks {
			each := heads / ranks
			f := NewFeed(set, FeedOptions{Seed: 4, Batch: each * b, Rank: rank, Size: ranks, Shards: heads, Start: start, Augment: jitter})
			for step, got := range take(t, f, steps-start) {
				for i := range each {
					h := rank*each + i
					mine := Batch{Images: got.Images[i*b*64 : (i+1)*b*64], Labels: got.Labels[i*b : (i+1)*b]}
					if !sameBatches([]Batch{mine}, []Batch{want[[2]int{h, start + step}]}) {
						t.Fatalf("%d ranks, step %d: head %d sees other images", ranks, start+step, h)
					}
				}
			}
			f.Close()
		}
	}
}

// data.share = "same": rank 0 of 1 on every rank. Fails if the ranks' batches differ, or if an epoch advances by more than one mini-batch
// per step.
func TestSameImagesForAllHeads(t *testing.T) {
	set := openTest(t)
	o := FeedOptions{Seed: 4, Batch: 30, Rank: 0, Size: 1, Augment: jitter}
	f, g := NewFeed(set, o), NewFeed(set, o)
	defer f.Close()
	defer g.Close()
	a := take(t, f, 50)
	if !sameBatches(a, take(t, g, 50)) {
		t.Error("two ranks see different images")
	}
	s := NewSampler(set.Train.Len(), 4)
	for step := range a {
		for j, label := range a[step].Labels {
			if _, image := s.At(int64(step*30 + j)); set.Train.Label(image) != label {
				t.Fatalf("step %d, image %d is not the next one of the sequence", step, j)
			}
		}
	}
}

// first is a collection of one image.
type first struct{ Images }

func (first) Len() int { return 1 }

// Fails if an image is augmented equally in every epoch, or for every seed.
func TestAugmentationDependsOnEpochAndSeed(t *testing.T) {
	set := openTest(t)
	one := *set
	one.Train = first{set.Train} // every step is an epoch
	f := NewFeed(&one, FeedOptions{Seed: 1, Batch: 1, Size: 1, Augment: jitter})
	g := NewFeed(&one, FeedOptions{Seed: 2, Batch: 1, Size: 1, Augment: jitter})
	defer f.Close()
	defer g.Close()
	a, b := take(t, f, 2), take(t, g, 1)
	if sameBits(a[0].Images, a[1].Images) || sameBits(a[0].Images, b[0].Images) {
		t.Error("another epoch or seed, the same distortion")
	}
}

// Fails if a resumed run gets other images than an uninterrupted one.
func TestStartResumesExactly(t *testing.T) {
	set := openTest(t)
	o := FeedOptions{Seed: 5, Batch: 90, Rank: 1, Size: 2, Augment: jitter}
	f := NewFeed(set, o)
	defer f.Close()
	whole := take(t, f, 20)
	for _, start := range []int{1, 7, 8, 19} {
		o.Start = start
		g := NewFeed(set, o)
		if !sameBatches(take(t, g, 20-start), whole[start:]) {
			t.Errorf("a feed from step %d differs", start)
		}
		g.Close()
	}
}

// Fails if a goroutine outlives Close, in whatever state it is, or if Next hangs or succeeds afterwards.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	set := openTest(t)
	before := runtime.NumGoroutine()
	for i := range 50 {
		f := NewFeed(set, FeedOptions{Seed: 1, Batch: 8, Size: 1})
		take(t, f, i%5)
		f.Close()
		f.Close()
		if _, err := f.Next(); err == nil {
			t.Fatal("Next of a closed feed succeeds")
		}
	}
	for range 100 { // the goroutine that closed its channel may take a moment to be gone
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines before, %d after", before, runtime.NumGoroutine())
}

var errImage = errors.New("broken image")

// broken fails at its third image, in the way that its name says.
type broken string

func (broken) Len() int { return 4 }
func (b broken) Label(i int) int {
	if i == 2 && b == "label" {
		return 10
	}
	return 0
}
func (b broken) Picture(dst *Picture, i int) error {
	dst.Reset(1, 2, 2)
	if i != 2 {
		return nil
	}
	switch b {
	case "error":
		return fmt.Errorf("third.png: %w", errImage)
	case "size":
		dst.Reset(1, 3, 2)
	case "text":
		panic("third.png is broken")
	case "index":
		_ = dst.Pix[len(dst.Pix)+i]
	case "exit":
		runtime.Goexit()
	}
	return nil
}

// Fails if an image that fails crashes or blocks the program, if the error does not say which image and why, if batches before the failure
// are lost, or if a second Next blocks.
func TestBrokenImageIsAnError(t *testing.T) {
	words := map[broken][]string{
		"error": {"image 2", `"broken"`, "third.png: broken image"},
		"size":  {"image 2", "2×3 pixels in 1 channels, expected 2×2 in 1", "data.size"},
		"text":  {"image 2", "third.png is broken", "feed_test.go"},
		"index": {"image 2", "index out of range", "feed_test.go"},
		"label": {"image 2", "its label is 10, expected 0..9"},
		"exit":  {"ended"},
	}
	for b, want := range words {
		set := &Set{Name: "broken", Classes: 10, Shape: Shape{Channels: 1, Height: 2, Width: 2},
			Mean: []float32{0}, Std: []float32{1}, Train: b, Test: b}
		f := NewFeed(set, FeedOptions{Seed: 1, Batch: 1, Size: 1})
		good := 0
		var err error
		for err == nil && good <= 4 {
			if _, err = f.Next(); err == nil {
				good++
			}
		}
		at := 0 // the step of image 2 in this order
		for s := NewSampler(4, 1); ; at++ {
			if _, image := s.At(int64(at)); image == 2 {
				break
			}
		}
		if good != at {
			t.Errorf("%s: %d batches before the failure, want %d", b, good, at)
		}
		for _, w := range want {
			if err == nil || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: error %v, want one that says %s", b, err, w)
			}
		}
		if b == "error" && !errors.Is(err, errImage) {
			t.Error("the cause is not wrapped")
		}
		if _, again := f.Next(); again == nil || again != err {
			t.Errorf("%s: the error doesn't stay", b)
		}
		f.Close()
		if b == "exit" {
			continue // it would end the test itself
		}
		err = EachBatch(set, set.Test, 3, 0, 1, func(*Batch) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "image 2") {
			t.Errorf("%s: EachBatch returns %v", b, err)
		}
	}
}

// Fails if an evaluation omits images, counts some twice, or fails with fewer images than ranks.
func TestEachBatchSharesOut(t *testing.T) {
	set := &Set{Name: "labelled", Classes: 50, Shape: Shape{Channels: 1, Height: 1, Width: 2}, White: 1, Mean: []float32{1}, Std: []float32{2}}
	for _, n := range []int{0, 1, 5, 24, 25} {
		images := make(labelled, n)
		for i := range images {
			images[i] = i
		}
		for _, size := range []int{1, 2, 3, 8} {
			for _, batch := range []int{1, 4, 100} {
				seen := make([]int, n)
				for rank := range size {
					next := rank
					err := EachBatch(set, images, batch, rank, size, func(b *Batch) error {
						if len(b.Labels) == 0 || len(b.Labels) > batch || len(b.Images) != 2*len(b.Labels) {
							t.Fatalf("a batch of %d labels and %d values", len(b.Labels), len(b.Images))
						}
						for j, l := range b.Labels {
							if l != next || b.Images[2*j+1] != (float32(l)-1)/2 {
								t.Fatalf("rank %d of %d got image %d, want %d", rank, size, l, next)
							}
							seen[l]++
							next += size
						}
						return nil
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				for i, times := range seen {
					if times != 1 {
						t.Errorf("%d images, %d ranks, batch %d: image %d seen %d times", n, size, batch, i, times)
					}
				}
			}
		}
	}
}

// Fails if an evaluation continues after an error of its caller, or hides it.
func TestEachBatchStopsAtAnError(t *testing.T) {
	set := openTest(t)
	calls := 0
	err := EachBatch(set, set.Test, 10, 0, 1, func(*Batch) error { calls++; return errImage })
	if err != errImage || calls != 1 {
		t.Errorf("%d calls, error %v", calls, err)
	}
}

// Fails if a feed allocates per image or batch. Epochs are long enough that the stream derived for each counts little.
func TestFeedAllocatesLittle(t *testing.T) {
	for name, k := range map[string]struct {
		set     *Set
		augment Augment
	}{"affine": {openTest(t), jitter}, "everything": {albumSet(500), everything}} {
		f := NewFeed(k.set, FeedOptions{Seed: 1, Batch: 64, Size: 1, Augment: k.augment})
		take(t, f, 20)
		n := testing.AllocsPerRun(200, func() {
			if _, err := f.Next(); err != nil {
				t.Fatal(err)
			}
		})
		f.Close()
		if n > 2 {
			t.Errorf("%s: %v allocations a batch of 64", name, n)
		}
	}
}

// slow is a collection whose images take 5 ms each.
type slow struct{ labelled }

func (s slow) Picture(dst *Picture, i int) error {
	time.Sleep(5 * time.Millisecond)
	return s.labelled.Picture(dst, i)
}

// Fails if Wait includes the caller's own time, or is always 0. By the clock of synctest a batch takes exactly 10 ms.
func TestWaitCountsOnlyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := &Set{Name: "slow", Classes: 1, Shape: Shape{Channels: 1, Height: 1, Width: 2}, Mean: []float32{0}, Std: []float32{1},
			Train: slow{labelled{0}}}
		f := NewFeed(set, FeedOptions{Batch: 2, Size: 1})
		defer f.Close()
		take(t, f, 4)
		if w := f.Wait(); w != 40*time.Millisecond {
			t.Errorf("waited %v for four batches of 10ms", w)
		}
		time.Sleep(25 * time.Millisecond) // the caller computes: two batches become ready, a third is half done
		synctest.Wait()
		take(t, f, 2)
		if w := f.Wait(); w != 40*time.Millisecond {
			t.Errorf("waited %v, though the last batches were ready", w)
		}
	})
}

func BenchmarkFeed(b *testing.B) {
	f := NewFeed(openTest(b), FeedOptions{Seed: 1, Batch: 64, Size: 1, Augment: jitter})
	defer f.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Next(); err != nil {
			b.Fatal(err)
		}
	}
}
