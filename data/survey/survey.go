// Package survey describes a data set: its classes and the number and sizes of its images, as text, JSON, and a contact sheet.
package survey

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"lte/data"
	"lte/internal/quote"

	"github.com/dustin/go-humanize"
)

// Report describes a set.
type Report struct {
	Kind       string   `json:"kind"`
	Name       string   `json:"name"`
	Classes    int      `json:"classes"`
	ClassNames []string `json:"class_names"`
	Channels   int      `json:"channels"`
	Train      Split    `json:"train"`
	Test       Split    `json:"test"`

	Looked     int      `json:"looked"` // images that were decoded, for the fields below
	Smallest   Size     `json:"smallest"`
	Middle     Size     `json:"middle"` // the median by area
	Largest    Size     `json:"largest"`
	Sizes      int      `json:"sizes"`      // number of different sizes
	Unreadable []string `json:"unreadable"` // errors of unreadable images
}

// Split is one split of a set.
type Split struct {
	Images   int   `json:"images"`
	PerClass []int `json:"per_class"` // (classes)
}

// Size is the size of an image in pixels.
type Size struct {
	Width  int `json:"width"`
	Height int `json:"height"`
}

func (s Size) String() string { return fmt.Sprintf("%d×%d", s.Width, s.Height) }

func (s Size) compare(t Size) int { return cmp.Or(s.Width*s.Height-t.Width*t.Height, s.Width-t.Width) }

// Look counts a set's images and decodes up to most of them (0: all), evenly spaced, on that many goroutines.
func Look(set *data.Set, most, workers int) Report {
	r := Report{Kind: set.Kind, Name: set.Name, Classes: set.Classes, ClassNames: set.ClassNames, Channels: set.Channels,
		Train: count(set.Train, set.Classes), Test: count(set.Test, set.Classes), Unreadable: []string{}}
	n := r.Train.Images + r.Test.Images
	r.Looked = n
	if most > 0 {
		r.Looked = min(n, most)
	}
	sizes, problems := make([]Size, r.Looked), make([]error, r.Looked)
	var wait sync.WaitGroup
	workers = max(1, workers)
	for first := range workers {
		wait.Go(func() {
			var p data.Picture
			for k := first; k < r.Looked; k += workers {
				images, i := set.Train, k*n/r.Looked
				if i >= images.Len() {
					images, i = set.Test, i-images.Len()
				}
				if problems[k] = images.Picture(&p, i); problems[k] == nil {
					sizes[k] = Size{p.Width, p.Height}
				}
			}
		})
	}
	wait.Wait()
	for _, err := range problems {
		if err != nil {
			r.Unreadable = append(r.Unreadable, err.Error())
		}
	}
	sizes = slices.DeleteFunc(sizes, func(s Size) bool { return s == Size{} })
	if len(sizes) > 0 {
		slices.SortFunc(sizes, Size.compare)
		r.Smallest, r.Middle, r.Largest = sizes[0], sizes[len(sizes)/2], sizes[len(sizes)-1]
		r.Sizes = len(slices.Compact(sizes))
	}
	return r
}

func count(images data.Images, classes int) Split {
	s := Split{Images: images.Len(), PerClass: make([]int, classes)}
	for i := range s.Images {
		s.PerClass[images.Label(i)]++
	}
	return s
}

// Write writes the report as text.
func (r Report) Write(w io.Writer) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s%s\n", name, fmt.Sprintf(format, args...))
	}
	number := func(n int) string { return humanize.Comma(int64(n)) }
	line("kind", "%s", r.Kind)
	line("name", "%s", quote.Text(r.Name))
	line("classes", "%s", number(r.Classes))
	line("channels", "%d", r.Channels)
	for _, s := range []struct {
		name string
		Split
	}{{"training", r.Train}, {"test", r.Test}} {
		line(s.name, "%s images, %s to %s a class", number(s.Images), number(slices.Min(s.PerClass)), number(slices.Max(s.PerClass)))
	}
	of := fmt.Sprintf("of the %s images looked at", number(r.Looked))
	if r.Looked == r.Train.Images+r.Test.Images {
		of = "of all images"
	}
	switch r.Sizes {
	case 0:
		line("sizes", "not known")
	case 1:
		line("sizes", "%v, %s", r.Smallest, of)
	default:
		line("sizes", "%v to %v, the middle one %v; %s different, %s", r.Smallest, r.Largest, r.Middle, number(r.Sizes), of)
	}
	line("unreadable", "%s %s", number(len(r.Unreadable)), of)
	for _, u := range r.Unreadable {
		fmt.Fprintf(&b, "  %s\n", quote.Text(u))
	}
	r.histogram(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

// A histogram has one line per class for up to listed classes; otherwise it has one line per range of numbers of images.
const (
	listed = 50
	ranges = 10
	wide   = 40 // length of the longest bar, in characters
)

// histogram draws the number of training images of each class, or the number of classes in each range.
func (r Report) histogram(b *strings.Builder) {
	var names []string
	values := r.Train.PerClass
	title := "training images of each class"
	if r.Classes <= listed {
		for c := range values {
			name := fmt.Sprint(c)
			if c < len(r.ClassNames) {
				name = quote.Text(r.ClassNames[c])
			}
			names = append(names, name)
		}
	} else {
		title = "classes by their training images"
		least, most := slices.Min(values), slices.Max(values)
		width := (most-least)/ranges + 1
		counts := make([]int, (most-least)/width+1)
		for _, n := range values {
			counts[(n-least)/width]++
		}
		for k := range counts {
			names = append(names, fmt.Sprintf("%d to %d", least+k*width, least+(k+1)*width-1))
		}
		values = counts
	}
	fmt.Fprintf(b, "\n%s\n", title)
	most, longest := max(1, slices.Max(values)), 0
	for _, n := range names {
		longest = max(longest, len([]rune(n)))
	}
	for i, n := range values {
		bar := strings.TrimRight(strings.Repeat("█", n*wide/most)+[]string{"", "▌"}[n*wide*2/most%2], " ")
		fmt.Fprintf(b, "%s\n", strings.TrimRight(fmt.Sprintf("%-*s %8s %s", longest, names[i], humanize.Comma(int64(n)), bar), " "))
	}
}
