package data

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// normalizations are the mean and standard deviation of the channels of well-known training sets, of pixels in 0..1, as used by
// torchvision's references and common recipes.
var normalizations = map[string][2][]float32{
	"imagenet": {{0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}},
	"cifar10":  {{0.4914, 0.4822, 0.4465}, {0.2470, 0.2435, 0.2616}},
	"cifar100": {{0.5071, 0.4865, 0.4409}, {0.2673, 0.2564, 0.2762}},
	"stl10":    {{0.4467, 0.4398, 0.4066}, {0.2603, 0.2566, 0.2713}},
	"mnist":    {{0.1307}, {0.3081}},
	"half":     {{0.5}, {0.5}}, // -1..1
}

// normalizeBy sets a named mean and deviation. Those of one channel apply to all channels.
func (s *Set) normalizeBy(name string) error {
	by, ok := normalizations[name]
	if !ok {
		return &OptionError{Problem: fmt.Sprintf("unknown data.normalize %q: expected auto, %s", name, strings.Join(slices.Sorted(maps.Keys(normalizations)), ", "))}
	}
	mean, std := by[0], by[1]
	if len(mean) == 1 {
		mean, std = slices.Repeat(mean, s.Channels), slices.Repeat(std, s.Channels)
	}
	if len(mean) != s.Channels {
		return &OptionError{Problem: fmt.Sprintf("data.normalize %q is for images of %d channels, these have %d: set data.normalize to auto or half", name, len(mean), s.Channels)}
	}
	s.Mean, s.Std = mean, std
	return nil
}
