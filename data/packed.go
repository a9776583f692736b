package data

import (
	"fmt"

	"lte/data/packed"
)

// openPacked opens a set written by lte data pack: its pictures stay in the mapped files.
func openPacked(folder string) (*Set, error) {
	p, err := packed.Open(folder)
	if err != nil {
		return nil, err
	}
	set := &Set{Kind: "packed", Name: p.Name, Classes: p.Classes, ClassNames: p.ClassNames, Shape: Shape{Channels: p.Channels}, White: p.White,
		Mean: p.Mean, Std: p.Std, Train: p.Train, Test: p.Test}
	set.Height, set.Width = p.Train.Size(0)
	for _, images := range []*packed.Images{p.Train, p.Test} {
		for i := range images.Len() {
			if h, w := images.Size(i); h != set.Height || w != set.Width {
				set.sizes = fmt.Errorf("pictures of %d×%d and of %d×%d pixels: set data.size, to which all are resized", set.Width, set.Height, w, h)
				return set, nil
			}
		}
	}
	return set, nil
}

// Pack writes an open set into a folder; see packed.Write.
func Pack(folder string, set *Set, o packed.Options) (packed.Unreadable, error) {
	d := packed.Description{Name: set.Name, Classes: set.Classes, ClassNames: set.ClassNames, Channels: set.Channels, White: set.WhiteLevel()}
	return packed.Write(folder, packed.Source{Description: d, Train: set.Train, Test: set.Test}, o)
}
