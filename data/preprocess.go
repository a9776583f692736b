package data

import (
	"fmt"
	"math/rand/v2"

	"lte/data/picture"
	"lte/data/transform"
	"lte/random"
)

// preprocessor prepares images for the model, one after the other, on one goroutine. Its buffers are reused.
type preprocessor struct {
	set     *Set
	images  Images
	augment Augment // zero in evaluation
	imageStreams
	values  [][256]float32 // (channels): the value in 0..1 of each byte
	normals [][256]float32 // (channels): the same, normalised
	planned picture.Plan   // passed to the decoder of the current image
	resizer picture.Resizer
	buffers
}

// imageStreams are the random streams of the current image.
type imageStreams struct {
	seed   uint64
	draw   Draw          // of the current image
	source *rand.ChaCha8 // reseeded for every stream
	rng    *rand.Rand    // over source
}

// stream makes rng the stream of one purpose of the current image.
func (s *imageStreams) stream(purpose string) *rand.Rand {
	s.source.Seed(random.Key(s.seed, purpose, uint64(s.draw.Epoch), uint64(s.draw.Image)))
	return s.rng
}

// buffers hold the current image between the steps of its preparation.
type buffers struct {
	decoded         Picture
	resized         Picture     // to the size of the model's input
	changed         transformed // by RandAugment and colour jitter
	floats, scratch []float32   // (channels, height, width), before and during a transform of floats
}

func newPreprocessor(set *Set, images Images, augment Augment, seed uint64) *preprocessor {
	source := rand.NewChaCha8([32]byte{})
	s := &preprocessor{set: set, images: images, augment: augment, imageStreams: imageStreams{seed: seed, source: source, rng: rand.New(source)}}
	if set.Fit.Keep > 0 {
		s.decoded.Want = func(height, width int) picture.Plan {
			s.planned = s.plan(height, width)
			return s.planned
		}
	}
	white := set.WhiteLevel()
	if augment.transformsBytes() {
		white = 255 // after transforms of bytes
	}
	s.normals = make([][256]float32, set.Channels)
	for c := range s.normals {
		s.values = append(s.values, *levels(white))
		for v, x := range s.values[c] {
			s.normals[c][v] = (x - set.Mean[c]) / set.Std[c]
		}
	}
	if augment.transformsFloats() {
		s.floats, s.scratch = make([]float32, set.pixels()), make([]float32, set.pixels())
	}
	return s
}

// prepare writes an image into dst, (channels, height, width), normalised, and returns its label. Its randomness depends on (seed, epoch,
// image) alone; each kind of augmentation has its own stream.
func (s *preprocessor) prepare(dst []float32, d Draw) (label int, err error) {
	s.draw, s.decoded.Cut = d, false
	if err := s.images.Picture(&s.decoded, d.Image); err != nil {
		return 0, err
	}
	p, err := s.fit()
	if err != nil {
		return 0, err
	}
	a := s.augment
	if a.transformsBytes() {
		p = s.transformBytes(p)
	}
	if a.transformsFloats() {
		p.Floats(s.floats, s.values, false)
		a.Apply(dst, s.floats, s.scratch, p.Channels, p.Height, p.Width, s.stream("augment"))
		s.set.normalise(dst)
	} else {
		p.Floats(dst, s.normals, a.Flip && a.draw(s.stream("augment")).flip)
	}
	if a.Erasing > 0 {
		a.Erasing.apply(dst, p.Channels, p.Height, p.Width, s.stream("erasing"))
	}
	return s.set.label(s.images, d.Image)
}

// transformBytes applies RandAugment and colour jitter. The bytes 0 to 255 of the result represent 0..1.
func (s *preprocessor) transformBytes(p *Picture) *Picture {
	s.changed.picture = p
	if white := s.set.WhiteLevel(); white != 255 {
		s.changed.apply(func(dst, src *Picture) { transform.Rescale(dst, src, white) })
	}
	if r := s.augment.RandAugment; r.Operations > 0 {
		r.apply(&s.changed, s.stream("randaugment"))
	}
	if j := s.augment.Colour; j != (ColourJitter{}) {
		j.apply(&s.changed, s.stream("colour jitter"))
	}
	return s.changed.picture
}

// plan returns how the current image, of that size, is resized: completely, a random crop, or the centre. A decoder may ask before there
// are pixels, and gets the same answer.
func (s *preprocessor) plan(height, width int) picture.Plan {
	if crop := s.augment.ResizedCrop; crop != (ResizedCrop{}) {
		return picture.Uncropped(crop.draw(height, width, s.stream("resized crop")), s.set.Height, s.set.Width)
	}
	return s.set.Fit.plan(height, width, s.set.Height, s.set.Width)
}

// fit resizes the current image to the size of the model's input.
func (s *preprocessor) fit() (*Picture, error) {
	p, height, width := &s.decoded, s.set.Height, s.set.Width
	same := p.Height == height && p.Width == width
	if p.Channels != s.set.Channels || !same && s.set.Fit.Keep == 0 {
		return nil, fmt.Errorf("%d×%d pixels in %d channels, expected %d×%d in %d; data.size resizes pictures",
			p.Width, p.Height, p.Channels, width, height, s.set.Channels)
	}
	plan := s.planned
	if p.Cut {
		plan.Box = picture.Full(p.Height, p.Width)
	} else {
		plan = s.plan(p.Height, p.Width)
	}
	if same && plan == picture.Uncropped(picture.Full(height, width), height, width) {
		return p, nil
	}
	s.resizer.Resize(&s.resized, p, plan, s.set.Fit.Filter)
	return &s.resized, nil
}
