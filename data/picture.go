package data

import "lte/data/picture"

// Picture is an image as it was decoded, of its own size.
type Picture = picture.Picture
