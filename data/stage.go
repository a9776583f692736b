package data

import (
	"fmt"
	"math/rand/v2"

	"lte/data/picture"
	"lte/data/transform"
	"lte/random"
)

// stage makes of one image after another what the model is fed. It belongs to one goroutine.
type stage struct {
	set     *Set
	images  Images
	augment Augment // nothing: as in evaluation
	seed    uint64
	plain   [][256]float32  // (channels): what a byte stands for, in 0..1
	fed     [][256]float32  // (channels): the same, normalised
	draw    Draw            // the image at hand
	planned picture.Plan    // what its decoder was told
	decoded Picture         // as it came
	fitted  Picture         // of the size that the model is fed
	resizer picture.Resizer // from one to the other
	easel   easel           // where that is painted over
	moved   []float32       // (channels, height, width), where an augmentation moves pixels: before it,
	between []float32       // and amidst
	source  *rand.ChaCha8   // seeded again for every image
	rng     *rand.Rand      // over source
}

func newStage(set *Set, images Images, augment Augment, seed uint64) *stage {
	source := rand.NewChaCha8([32]byte{})
	s := &stage{set: set, images: images, augment: augment, seed: seed, source: source, rng: rand.New(source)}
	if set.Fit.Keep > 0 {
		s.decoded.Want = func(height, width int) picture.Plan {
			s.planned = s.plan(height, width)
			return s.planned
		}
	}
	white := set.Lightest()
	if augment.paints() {
		white = 255 // of painted pictures
	}
	s.fed = make([][256]float32, set.Channels)
	for c := range s.fed {
		s.plain = append(s.plain, *levels(white))
		for v, x := range s.plain[c] {
			s.fed[c][v] = (x - set.Mean[c]) / set.Std[c]
		}
	}
	if augment.moves() {
		s.moved, s.between = make([]float32, set.pixels()), make([]float32, set.pixels())
	}
	return s
}

// stream makes rng the stream of one purpose, of the image at hand.
func (s *stage) stream(purpose string) *rand.Rand {
	s.source.Seed(random.Key(s.seed, purpose, uint64(s.draw.Epoch), uint64(s.draw.Image)))
	return s.rng
}

// prepare writes an image into dst, (channels, height, width), normalised, and returns its label. What is random about
// it depends on (seed, epoch, image) alone, each kind of augmentation by a stream of its own.
func (s *stage) prepare(dst []float32, d Draw) (label int, err error) {
	s.draw, s.decoded.Cut = d, false
	if err := s.images.Picture(&s.decoded, d.Image); err != nil {
		return 0, err
	}
	p, err := s.fit()
	if err != nil {
		return 0, err
	}
	a := s.augment
	if a.paints() {
		p = s.paint(p)
	}
	if a.moves() {
		p.Floats(s.moved, s.plain, false)
		a.Apply(dst, s.moved, s.between, p.Channels, p.Height, p.Width, s.stream("augment"))
		s.set.normalise(dst)
	} else {
		p.Floats(dst, s.fed, a.Flip && a.draw(s.stream("augment")).flip)
	}
	if a.Erasing > 0 {
		a.Erasing.apply(dst, p.Channels, p.Height, p.Width, s.stream("erasing"))
	}
	return s.set.label(s.images, d.Image)
}

// paint is RandAugment and colour jitter. The bytes of what it returns stand for 0..1 from 0 to 255.
func (s *stage) paint(p *Picture) *Picture {
	s.easel.picture = p
	if white := s.set.Lightest(); white != 255 {
		s.easel.paint(func(dst, src *Picture) { transform.Widen(dst, src, white) })
	}
	if r := s.augment.RandAugment; r.Operations > 0 {
		r.apply(&s.easel, s.stream("randaugment"))
	}
	if j := s.augment.Colour; j != (ColourJitter{}) {
		j.apply(&s.easel, s.stream("colour jitter"))
	}
	return s.easel.picture
}

// plan says what becomes of the image at hand, of that size: all of it, a piece that is drawn, or the middle. A decoder
// may ask before there are pixels, and gets the same answer.
func (s *stage) plan(height, width int) picture.Plan {
	if crop := s.augment.ResizedCrop; crop != (ResizedCrop{}) {
		return entire(crop.draw(height, width, s.stream("resized crop")), s.set.Height, s.set.Width)
	}
	return s.set.Fit.plan(height, width, s.set.Height, s.set.Width)
}

// fit brings the image at hand to the size that the model is fed.
func (s *stage) fit() (*Picture, error) {
	p, height, width := &s.decoded, s.set.Height, s.set.Width
	same := p.Height == height && p.Width == width
	if p.Channels != s.set.Channels || !same && s.set.Fit.Keep == 0 {
		return nil, fmt.Errorf("%d×%d pixels in %d channels, expected %d×%d in %d; data.size brings pictures to one size",
			p.Width, p.Height, p.Channels, width, height, s.set.Channels)
	}
	plan := s.planned
	if p.Cut {
		plan.Box = picture.Whole(p.Height, p.Width)
	} else {
		plan = s.plan(p.Height, p.Width)
	}
	if same && plan == entire(picture.Whole(height, width), height, width) {
		return p, nil
	}
	s.resizer.Resize(&s.fitted, p, plan, s.set.Fit.Filter)
	return &s.fitted, nil
}
