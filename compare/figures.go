package compare

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"lte/record"
)

// figure is one diagram.
type figure struct {
	Title  string
	file   string // name without extension
	x, y   axis
	series []series
	bars   bool // the spread as a bar at every point, not as a band
}

// series is one curve, or a level: one number whatever x is.
type series struct {
	name   string
	points []point // in the order of x
	level  bool
}

type point struct{ x, y, spread float64 }

// curve is a figure over training: a number of the records over another.
type curve struct {
	title, file string
	x, y        axis
	ofX, ofY    func(record.Record) float64
}

var (
	byImages   = axis{label: "images seen", format: si}
	byBytes    = axis{label: "bytes sent by a rank", format: bytes, log: true}
	bySeconds  = axis{label: "seconds", format: plain}
	asAccuracy = axis{label: "test top-1", format: percent}
	asRank     = axis{label: "mean effective rank", format: plain}
	asCosine   = axis{label: "mean |cosine|", format: plain}
)

var curves = []curve{
	{"Test accuracy over images", "accuracy-images", byImages, asAccuracy, imagesSeen, TestTop1},
	{"Test accuracy over bytes sent by a rank", "accuracy-bytes", byBytes, asAccuracy, bytesSent, TestTop1},
	{"Test accuracy over time", "accuracy-seconds", bySeconds, asAccuracy, elapsed, TestTop1},
	{"Effective rank of the gradients", "gradient-rank", byImages, asRank, imagesSeen, GradientRank},
	{"Alignment of heads", "alignment", byImages, asCosine, imagesSeen, Alignment},
}

func imagesSeen(r record.Record) float64 { return float64(r.Images) }
func bytesSent(r record.Record) float64  { return positive(float64(r.BytesSent)) }
func elapsed(r record.Record) float64    { return r.Seconds }

// figures are those of a panel for which there is anything to show. name is what their files' names begin with.
func (p Panel) figures(name string) (all []figure) {
	for _, c := range curves {
		f := figure{Title: c.title, file: name + c.file, x: c.x, y: c.y}
		for _, l := range p.Lines {
			if points := c.points(l); points != nil {
				f.series = append(f.series, series{name: l.Name, points: points})
			}
		}
		if f.series != nil {
			all = append(all, f)
		}
	}
	for _, key := range []string{"lora.heads", "lora.rank", "merge.every"} {
		if f := p.over(key); f.series != nil {
			f.file = name + f.file
			all = append(all, f)
		}
	}
	return all
}

// points are the line's, at every step that has a record: means over those of its runs that have one.
func (c curve) points(l Line) (points []point) {
	var steps []int
	for _, r := range l.Runs {
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
		x := l.Mean(of(c.ofX))
		y, spread := l.Over(of(c.ofY))
		if !math.IsNaN(x) && !math.IsNaN(y) {
			points = append(points, point{x, y, spread})
		}
	}
	return points
}

// over is the final accuracy over a key that tells lines of the panel apart, a curve for each setting of what else does,
// and full's level beside them.
func (p Panel) over(key string) figure {
	name := letters[key]
	f := figure{Title: "Final test accuracy over " + name, file: "final-" + strings.ReplaceAll(key, ".", "-"),
		x: axis{label: key, format: plain, log: true}, y: asAccuracy, bars: true}
	for _, l := range p.Lines {
		i := slices.IndexFunc(l.Terms, func(s Setting) bool { return s.Key == key })
		if i < 0 {
			continue
		}
		rest := l
		rest.name(nil)
		for _, s := range slices.Delete(slices.Clone(l.Terms), i, i+1) {
			rest.Name += " " + s.String()
		}
		var x float64
		if _, err := fmt.Sscan(l.Terms[i].Value, &x); err != nil {
			continue
		}
		f.add(rest.Name, x, l)
	}
	f.series = slices.DeleteFunc(f.series, func(s series) bool { return len(s.points) < 2 })
	if full := p.full(); full != nil && f.series != nil {
		top1, spread := full.Over(Top1)
		f.series = append(f.series, series{name: full.Name, points: []point{{math.NaN(), top1, spread}}, level: true})
	}
	return f
}

// add adds the line's final accuracy to a series.
func (f *figure) add(name string, x float64, l Line) {
	i := slices.IndexFunc(f.series, func(s series) bool { return s.name == name })
	if i < 0 {
		i = len(f.series)
		f.series = append(f.series, series{name: name})
	}
	top1, spread := l.Over(Top1)
	s := &f.series[i]
	s.points = append(s.points, point{x, top1, spread})
	if !slices.Contains(f.x.at, x) {
		f.x.at = append(f.x.at, x)
	}
	slices.SortFunc(s.points, func(a, b point) int { return cmp.Compare(a.x, b.x) })
}

// scales are the final accuracies over the models' sizes, a figure for each data set with models of several sizes.
func scales(panels []Panel) (all []figure) {
	for i, p := range panels {
		if i == 0 || panels[i-1].Dataset != p.Dataset {
			all = append(all, figure{Title: "Final test accuracy over scale, " + p.Dataset, file: "final-scale-" + fileName(p.Dataset),
				x: axis{label: "parameters of the model", format: si, log: true}, y: asAccuracy, bars: true})
		}
		for _, l := range p.Lines {
			all[len(all)-1].add(l.Name, p.parameters(), l)
		}
	}
	return slices.DeleteFunc(all, func(f figure) bool {
		return !slices.ContainsFunc(f.series, func(s series) bool { return len(s.points) > 1 })
	})
}

// maxPoints of a curve are drawn: more than a picture has pixels for.
const maxPoints = 1000

// drawable leaves out of figures what has no place on their axes, thins out curves of very many points, and leaves out figures of
// which nothing remains.
func drawable(figures []figure) (all []figure) {
	for _, f := range figures {
		f.x.at = slices.DeleteFunc(slices.Clone(f.x.at), func(x float64) bool { return !f.x.shows(x) })
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

// drawable are the points of a curve that can be drawn.
func (f figure) drawable(s series) (points []point) {
	for _, at := range s.points {
		if !f.y.shows(at.y) || !s.level && !f.x.shows(at.x) {
			continue
		}
		if !(at.spread < largest) { // NaN too
			at.spread = largest
		}
		points = append(points, point{f.x.within(at.x), f.y.within(at.y), at.spread})
	}
	apart := (len(points) + maxPoints - 1) / maxPoints
	if apart < 2 {
		return points
	}
	last, thin := points[len(points)-1], points[:0]
	for i := 0; i < len(points)-1; i += apart {
		thin = append(thin, points[i])
	}
	return append(thin, last)
}

// fileName is text as a part of a file's name, of bounded length.
func fileName(text string) string {
	name := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, text), "-")
	return name[:min(len(name), 80)]
}

// distinct gives every name that it is asked for once: those that were given before get a number.
type distinct map[string]bool

func (d distinct) name(wanted string) string {
	name := wanted
	for i := 2; d[name]; i++ {
		name = fmt.Sprintf("%s-%d", wanted, i)
	}
	d[name] = true
	return name
}
