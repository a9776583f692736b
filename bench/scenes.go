package bench

import (
	"math"

	"lte/data"
	"lte/data/packed"
	"lte/random"
)

// scenes are pictures like those that lte data pack makes from photographs: 256×341, smooth with some noise.
type scenes int

func (n scenes) Len() int        { return int(n) }
func (n scenes) Label(i int) int { return i % 10 }
func (n scenes) Picture(dst *data.Picture, i int) error {
	const height, width = 256, 341
	dst.Reset(3, height, width)
	rng := random.Stream(1, "scene", uint64(i))
	for c := range 3 {
		fx, fy, phase := 0.1*rng.Float64(), 0.1*rng.Float64(), 6*rng.Float64()
		for y := range height {
			row := dst.Plane(c)[y*width : (y+1)*width]
			slope := 40 * math.Sin(fy*float64(y)+phase)
			for x := range row {
				row[x] = uint8(128 + slope*(1+fx*float64(x)/width) + float64(rng.Uint32()&31))
			}
		}
	}
	return nil
}

// PackScenes writes a packed data set of 512 scenes, 134 MB, into a folder.
func PackScenes(folder string) error {
	set := &data.Set{Name: "scenes", Classes: 10, Shape: data.Shape{Channels: 3}, Train: scenes(512), Test: scenes(10)}
	_, err := data.Pack(folder, set, packed.Options{Shard: 128})
	return err
}
