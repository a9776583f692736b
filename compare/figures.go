package compare

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"lte/record"
)

// figure is one plot.
type figure struct {
	Title  string
	file   string // name without extension
	x, y   axis
	series []series // horizontal lines last
	bars   bool     // draw deviations as error bars, not as a band
}

// series is a curve, or a horizontal line.
type series struct {
	name   string
	points []point // in the order of x; of a horizontal line one, whose x is ignored
	level  bool    // a horizontal line
}

type point struct{ x, y, std float64 }

// curve is a figure of one number of the records over another.
type curve struct {
	title, file string
	x, y        axis
	ofX, ofY    func(record.Record) float64
}

var (
	byImages   = axis{label: "images seen", format: si}
	byBytes    = axis{label: "bytes sent per rank", format: bytes, log: true}
	bySeconds  = axis{label: "seconds", format: plain}
	asAccuracy = axis{label: "test top-1", format: percent}
	asRank     = axis{label: "mean effective rank", format: plain}
	asCosine   = axis{label: "mean |cosine|", format: plain}
)

var curves = []curve{
	{"Test accuracy over images", "accuracy-images", byImages, asAccuracy, imagesSeen, TestTop1},
	{"Test accuracy over bytes sent per rank", "accuracy-bytes", byBytes, asAccuracy, bytesSent, TestTop1},
	{"Test accuracy over time", "accuracy-seconds", bySeconds, asAccuracy, elapsed, TestTop1},
	{"Effective rank of the gradients", "gradient-rank", byImages, asRank, imagesSeen, GradientRank},
	{"Alignment of heads", "alignment", byImages, asCosine, imagesSeen, Alignment},
}

func imagesSeen(r record.Record) float64 { return float64(r.Images) }
func bytesSent(r record.Record) float64  { return orNaN(float64(r.BytesSent)) }
func elapsed(r record.Record) float64    { return r.Seconds }

// figures returns the figures of a panel that are not empty. Their files' names start with prefix.
func (p Panel) figures(prefix string) (all []figure) {
	for _, c := range curves {
		f := figure{Title: c.title, file: prefix + c.file, x: c.x, y: c.y}
		for _, v := range p.Variants {
			if points := c.points(v); points != nil {
				f.series = append(f.series, series{name: v.Name, points: points})
			}
		}
		if f.series != nil {
			all = append(all, f)
		}
	}
	for _, key := range []string{"lora.heads", "lora.rank", "merge.every"} {
		if f := p.final(key); f.series != nil {
			f.file = prefix + f.file
			all = append(all, f)
		}
	}
	return all
}

// points returns a point for every step with a record: means over the runs that have one.
func (c curve) points(v Variant) (points []point) {
	var steps []int
	for _, r := range v.Runs {
		for _, at := range r.Records {
			steps = append(steps, at.Step)
		}
	}
	slices.Sort(steps)
	for _, step := range slices.Compact(steps) {
		of := func(number func(record.Record) float64) func(Run) float64 {
			return func(r Run) float64 {
				i, ok := slices.BinarySearchFunc(r.Records, step, func(at record.Record, step int) int { return at.Step - step })
				if !ok {
					return math.NaN()
				}
				return number(r.Records[i])
			}
		}
		x := v.Mean(of(c.ofX))
		y, std := v.MeanStd(of(c.ofY))
		if !math.IsNaN(x) && !math.IsNaN(y) {
			points = append(points, point{x, y, std})
		}
	}
	return points
}

// final is the figure of the final accuracy over a key that distinguishes variants: a curve for each setting of the other keys, and a
// horizontal line for the baseline.
func (p Panel) final(key string) figure {
	f := figure{Title: "Final test accuracy over " + symbols[key], file: "final-" + strings.ReplaceAll(key, ".", "-"),
		x: axis{label: key, format: plain, log: true}, y: asAccuracy, bars: true}
	for _, v := range p.Variants {
		i := slices.IndexFunc(v.Terms, func(s Setting) bool { return s.Key == key })
		if i < 0 {
			continue
		}
		var x float64
		if _, err := fmt.Sscan(v.Terms[i].Value, &x); err != nil {
			continue
		}
		name := v.method()
		for _, s := range slices.Delete(slices.Clone(v.Terms), i, i+1) {
			name += " " + s.String()
		}
		f.add(name, x, v)
	}
	f.series = slices.DeleteFunc(f.series, func(s series) bool { return len(s.points) < 2 })
	if full := p.baseline(); full != nil && f.series != nil {
		top1, std := full.MeanStd(Top1)
		f.series = append(f.series, series{name: full.Name, points: []point{{math.NaN(), top1, std}}, level: true})
	}
	return f
}

// add adds the variant's final accuracy to the series of that name.
func (f *figure) add(name string, x float64, v Variant) {
	i := slices.IndexFunc(f.series, func(s series) bool { return s.name == name })
	if i < 0 {
		i = len(f.series)
		f.series = append(f.series, series{name: name})
	}
	top1, std := v.MeanStd(Top1)
	s := &f.series[i]
	s.points = append(s.points, point{x, top1, std})
	if !slices.Contains(f.x.at, x) {
		f.x.at = append(f.x.at, x)
	}
	slices.SortFunc(s.points, func(a, b point) int { return cmp.Compare(a.x, b.x) })
}

// scales returns the figures of the final accuracy over the size of the model, one for each data set with models of several sizes.
func scales(panels []Panel) (all []figure) {
	for i, p := range panels {
		if i == 0 || panels[i-1].Dataset != p.Dataset {
			all = append(all, figure{Title: "Final test accuracy over scale, " + p.Dataset, file: "final-scale-" + fileName(p.Dataset),
				x: axis{label: "parameters of the model", format: si, log: true}, y: asAccuracy, bars: true})
		}
		for _, v := range p.Variants {
			all[len(all)-1].add(v.Name, p.parameters(), v)
		}
	}
	return slices.DeleteFunc(all, func(f figure) bool {
		return !slices.ContainsFunc(f.series, func(s series) bool { return len(s.points) > 1 })
	})
}

// maxPoints bounds the points of a curve; a figure has fewer pixels.
const maxPoints = 1000

// drawable drops points that the axes cannot show, thins out long curves, and drops figures without a curve.
func drawable(figures []figure) (all []figure) {
	for _, f := range figures {
		f.x.at = slices.DeleteFunc(slices.Clone(f.x.at), func(x float64) bool { return !f.x.contains(x) })
		if len(f.x.at) > maxTicks {
			f.x.at = nil
		}
		var curves []series
		for _, s := range f.series {
			if s.points = f.drawable(s); s.points != nil {
				curves = append(curves, s)
			}
		}
		if f.series = curves; slices.ContainsFunc(curves, func(s series) bool { return !s.level }) {
			all = append(all, f)
		}
	}
	return all
}

// drawable returns the points of a curve that can be drawn.
func (f figure) drawable(s series) (points []point) {
	for _, at := range s.points {
		if !f.y.contains(at.y) || !s.level && !f.x.contains(at.x) {
			continue
		}
		if !(at.std < largest) { // NaN too
			at.std = largest
		}
		points = append(points, point{f.x.clamp(at.x), f.y.clamp(at.y), at.std})
	}
	stride := (len(points) + maxPoints - 1) / maxPoints
	if stride < 2 {
		return points
	}
	last, thin := points[len(points)-1], points[:0]
	for i := 0; i < len(points)-1; i += stride {
		thin = append(thin, points[i])
	}
	return append(thin, last)
}

var notInFileNames = regexp.MustCompile(`[^a-zA-Z0-9]`)

// fileName turns text into part of a file's name, of bounded length.
func fileName(text string) string {
	name := strings.Trim(notInFileNames.ReplaceAllString(text, "-"), "-")
	return name[:min(len(name), 80)]
}

// uniqueNames holds names that are taken.
type uniqueNames map[string]bool

// take returns the name, with a number if it is taken.
func (u uniqueNames) take(wanted string) string {
	name := wanted
	for i := 2; u[name]; i++ {
		name = fmt.Sprintf("%s-%d", wanted, i)
	}
	u[name] = true
	return name
}
