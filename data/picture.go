package data

// Picture is an image as it was decoded, of its own size.
type Picture struct {
	Channels, Height, Width int
	Pix                     []uint8 // (channels, height, width), 0 black, 255 white
}
