// Package limit holds what an image set may ask of the machine. A few bytes can claim, or unpack to, any size: what is beyond these
// limits is refused before memory is given to it. No public set comes near them. docs/data.md states them.
package limit

import "math"

// Of one image.
const (
	Pixels     = 1 << 27 // width times height; see ImagePixels
	Side       = 1 << 16 // pixels, of width and of height; JPEG's own limit is 65,535
	ImageBytes = 1 << 28 // as it is encoded
	Scans      = 100     // of a progressive JPEG, each of which costs a pass over all of the image; encoders write about 10
)

// Of a set.
const (
	Classes = 1 << 20
	Images  = 1 << 28
	Folders = 1 << 16 // of an archive
	Depth   = 32      // folders above a file of an archive
)

// Of one file, in bytes.
const (
	PixelFile = 1 << 33 // of plain pixels, or of their labels, read into memory at once: MNIST8M has 6.4·10⁹
	Text      = 1 << 22 // lists of classes and of images; each line takes 40 bytes more in memory
	Manifest  = 1 << 23 // of a packed set: those of 40,000 shards, of which Linux maps 65,530 at most
	Label     = 1 << 10 // a sample's .cls file
	Name      = 1 << 12 // of a file in an archive; Linux allows no longer path
)

// ImagePixels returns how many pixels an image of so many bytes may have. A photograph has about 10 for each byte, a drawing in few
// colours may have 50.
func ImagePixels(bytes int) int { return min(Pixels, 1<<24+100*min(bytes, Pixels)) }

// Unpacked returns how many bytes so many may unpack to: images that are encoded come to about as many, MNIST's to 5 times as many.
func Unpacked(packed int64) int64 { return 1<<25 + 50*min(packed, math.MaxInt64/100) }
