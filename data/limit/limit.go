// Package limit holds the size limits of image sets. A few bytes can claim, or decompress to, any size: anything beyond these limits is
// refused before memory is allocated. No public set comes near them. docs/data.md lists them.
package limit

import "math"

// Of one image.
const (
	Pixels     = 1 << 27 // width times height; see ImagePixels
	Side       = 1 << 16 // pixels, of width and of height; JPEG's own limit is 65,535
	ImageBytes = 1 << 28 // encoded
	Scans      = 100     // of a progressive JPEG, each a pass over the complete image; encoders write about 10
)

// Of a set.
const (
	Classes = 1 << 20
	Images  = 1 << 28
	Folders = 1 << 16 // of an archive
	Depth   = 32      // folders above a file in an archive
)

// Of one file, in bytes.
const (
	PixelFile = 1 << 33 // of raw pixels or labels, read into memory at once: MNIST8M has 6.4·10⁹
	Text      = 1 << 22 // lists of classes and images; each line takes another 40 bytes of memory
	Manifest  = 1 << 23 // of a packed set: 40,000 shards; Linux maps at most 65,530 files
	Label     = 1 << 10 // a sample's .cls file
	Name      = 1 << 12 // of a file in an archive; Linux allows no longer path
)

// ImagePixels returns the largest number of pixels of an image of so many bytes. A photograph has about 10 per byte, a drawing in few
// colours may have 50.
func ImagePixels(bytes int) int { return min(Pixels, 1<<24+100*min(bytes, Pixels)) }

// Unpacked returns the largest number of bytes that so many compressed ones may decompress to: encoded images hardly compress, MNIST's
// pixels do by 5.
func Unpacked(packed int64) int64 { return 1<<25 + 50*min(packed, math.MaxInt64/100) }
