package data

import "lte/data/picture"

// Picture is a decoded image of any size.
type Picture = picture.Picture
