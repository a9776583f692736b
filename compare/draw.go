package compare

import (
	"cmp"
	"image/color"
	"io"
	"regexp"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"lte/method"
)

// The size of a figure fits a phone, and half a page of paper.
const (
	width  = 11 * vg.Centimeter
	height = 7.4 * vg.Centimeter
)

// palette is that of Okabe and Ito (2008) for colour-blind readers, without yellow, too light for a line, and black, the baseline's.
var palette = []color.NRGBA{{0x00, 0x72, 0xB2, 255}, {0xD5, 0x5E, 0x00, 255}, {0x00, 0x9E, 0x73, 255}, {0xCC, 0x79, 0xA7, 255},
	{0xE6, 0x9F, 0x00, 255}, {0x56, 0xB4, 0xE9, 255}}

var (
	black = color.NRGBA{0x1a, 0x1a, 0x1a, 255}
	grey  = color.NRGBA{0x55, 0x55, 0x55, 255}
	faint = color.NRGBA{0xdd, 0xdd, 0xdd, 255}
)

// lineStyle is how the curves of a name are drawn in all figures.
type lineStyle struct {
	color  color.NRGBA
	dashes []vg.Length
}

// lineStyles assigns a distinct style to every name, by colour first, then by dashes.
func lineStyles(names []string) map[string]lineStyle {
	all, n := map[string]lineStyle{}, 0
	for _, name := range names {
		if _, ok := all[name]; ok {
			continue
		}
		if name == method.Baseline().Name {
			all[name] = lineStyle{color: black}
			continue
		}
		dashes := [][]vg.Length{nil, {4, 2}, {1.5, 1.5}, {6, 2, 1.5, 2}}
		all[name] = lineStyle{palette[n%len(palette)], dashes[n/len(palette)%len(dashes)]}
		n++
	}
	return all
}

// plot builds the plot of a drawable figure.
func (f figure) plot(styles map[string]lineStyle) *plot.Plot {
	p := plot.New()
	sans := func(size vg.Length, c color.Color) text.Style {
		return text.Style{Color: c, Font: font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size), Handler: p.TextHandler}
	}
	for _, a := range []struct {
		of     *plot.Axis
		as     axis
		xAlign text.XAlignment
		yAlign text.YAlignment
	}{{&p.X, f.x, text.XCenter, text.YTop}, {&p.Y, f.y, text.XRight, text.YCenter}} {
		a.of.Label.Text, a.of.Label.TextStyle = a.as.label, sans(8.5, grey)
		a.of.Tick.Label = sans(8.5, grey)
		a.of.Tick.Label.XAlign, a.of.Tick.Label.YAlign = a.xAlign, a.yAlign
		a.of.Label.TextStyle.XAlign, a.of.Label.TextStyle.YAlign = text.XCenter, text.YBottom
		a.of.Tick.Marker = a.as
		a.of.LineStyle.Color, a.of.Tick.LineStyle.Color = grey, grey
		if a.as.log {
			a.of.Scale = plot.LogScale{}
		}
	}
	p.X.Tick.Length = 3
	p.Y.LineStyle.Width, p.Y.Tick.LineStyle.Width, p.Y.Tick.Length = 0, 0, 0
	grid := plotter.NewGrid()
	grid.Vertical.Width, grid.Horizontal.Color = 0, faint
	p.Add(grid)
	labels := &endLabels{}
	for _, s := range f.series {
		end := f.addSeries(p, s, styles[s.name])
		style := sans(8.5, darker(styles[s.name].color))
		style.YAlign = text.YCenter
		labels.all = append(labels.all, endLabel{end, short(s.name, style), style})
	}
	p.Add(labels)
	p.X.Min, p.X.Max = f.x.span(p.X.Min, p.X.Max)
	p.Y.Min, p.Y.Max = f.y.span(p.Y.Min, p.Y.Max)
	return p
}

// addSeries adds a curve and its deviations to the plot and returns the end of the curve.
func (f figure) addSeries(p *plot.Plot, s series, style lineStyle) (end plotter.XY) {
	points := s.points
	if s.level {
		points = []point{{p.X.Min, s.points[0].y, 0}, {p.X.Max, s.points[0].y, 0}} // the plot holds the curves already
	}
	var line, upper, lower plotter.XYs
	for _, at := range points {
		line = append(line, plotter.XY{X: at.x, Y: at.y})
		upper = append(upper, plotter.XY{X: at.x, Y: f.y.clamp(at.y + at.std)})
		lower = append(lower, plotter.XY{X: at.x, Y: f.y.clamp(at.y - at.std)})
	}
	add := func(xys plotter.XYs, width vg.Length) {
		p.Add(&plotter.Line{XYs: xys, LineStyle: draw.LineStyle{Color: style.color, Width: width, Dashes: style.dashes}})
	}
	switch {
	case !slices.ContainsFunc(points, func(at point) bool { return at.std > 0 }):
	case f.bars:
		for i := range line {
			add(plotter.XYs{lower[i], upper[i]}, 0.8)
		}
	default:
		light := style.color
		light.A = 40
		slices.Reverse(lower)
		p.Add(&plotter.Polygon{XYs: []plotter.XYs{append(upper, lower...)}, Color: light})
	}
	add(line, 1.4)
	if len(line) <= 12 && !s.level {
		p.Add(&plotter.Scatter{XYs: line, GlyphStyle: draw.GlyphStyle{Color: style.color, Radius: 1.8, Shape: draw.CircleGlyph{}}})
	}
	return line[len(line)-1]
}

// short truncates a name that would take too much space from the curves.
func short(name string, style text.Style) string {
	letters := []rune(name)
	for most := min(len(letters), 100); ; most-- {
		cut := name
		if most < len(letters) {
			cut = string(letters[:most]) + "…"
		}
		if most == 0 || style.Width(cut) < 0.6*width {
			return cut
		}
	}
}

// darker returns the colour for text, which is thinner than lines.
func darker(c color.NRGBA) color.NRGBA {
	part := func(x uint8) uint8 { return uint8(0.72 * float64(x)) }
	return color.NRGBA{part(c.R), part(c.G), part(c.B), c.A}
}

// endLabels writes the name of every curve at its end and moves labels apart that would overlap.
type endLabels struct{ all []endLabel }

type endLabel struct {
	at    plotter.XY
	text  string
	style text.Style
}

const labelGap = 4 // points between a curve and its name

// Plot implements plot.Plotter.
func (e *endLabels) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	type box struct{ left, right, y vg.Length }
	boxes := make([]box, len(e.all))
	order := make([]int, len(e.all))
	for i, l := range e.all {
		left := x(l.at.X) + labelGap
		boxes[i], order[i] = box{left, left + l.style.Width(l.text), y(l.at.Y)}, i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(boxes[i].y, boxes[j].y) })
	lineHeight := func(i int) vg.Length { return e.all[i].style.Font.Size * 1.1 }
	overlap := func(a, b box) bool { return a.left < b.right && b.left < a.right }
	for n, i := range order { // upwards, above the lower ones
		for _, j := range order[:n] {
			if overlap(boxes[i], boxes[j]) {
				boxes[i].y = max(boxes[i].y, boxes[j].y+lineHeight(i))
			}
		}
	}
	top := c.Max.Y
	for n, i := range slices.Backward(order) { // and down again from the upper edge
		boxes[i].y = min(boxes[i].y, top)
		for _, j := range order[n+1:] {
			if overlap(boxes[i], boxes[j]) {
				boxes[i].y = min(boxes[i].y, boxes[j].y-lineHeight(i))
			}
		}
	}
	background := color.NRGBA{255, 255, 255, 170}
	for i, l := range e.all {
		half := lineHeight(i) / 2
		under := vg.Rectangle{Min: vg.Point{X: boxes[i].left, Y: boxes[i].y - half}, Max: vg.Point{X: boxes[i].right, Y: boxes[i].y + half}}
		c.SetColor(background)
		c.Fill(under.Path())
		c.FillText(l.style, vg.Point{X: boxes[i].left, Y: boxes[i].y}, l.text)
	}
}

// GlyphBoxes implements plot.GlyphBoxer: the space that the names need.
func (e *endLabels) GlyphBoxes(p *plot.Plot) (boxes []plot.GlyphBox) {
	for _, l := range e.all {
		boxes = append(boxes, plot.GlyphBox{X: p.X.Norm(l.at.X), Y: p.Y.Norm(l.at.Y),
			Rectangle: vg.Rectangle{Max: vg.Point{X: labelGap + l.style.Width(l.text)}}})
	}
	return boxes
}

// margin keeps text within the figure in slightly wider fonts.
const margin = 4

func (f figure) draw(c vg.CanvasSizer, styles map[string]lineStyle) {
	f.plot(styles).Draw(draw.Crop(draw.New(c), margin, -margin, margin, -margin))
}

// svgHeader matches what an SVG file has and an SVG element of a page has not.
var svgHeader = regexp.MustCompile(`(?s)^.*?<svg width="[^"]*" height="[^"]*"`)

// svg returns the figure as an SVG element for a page.
func (f figure) svg(styles map[string]lineStyle) string {
	c := vgsvg.New(width, height)
	f.draw(c, styles)
	var b strings.Builder
	_, _ = c.WriteTo(&b) // a strings.Builder does not fail
	return strings.ReplaceAll(svgHeader.ReplaceAllString(b.String(), "<svg"), "Liberation Sans", "Liberation Sans, Arial, Helvetica, sans-serif")
}

// dpi of a PNG, for print.
const dpi = 250

func (f figure) png(w io.Writer, styles map[string]lineStyle) error {
	c := vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(dpi))
	f.draw(c, styles)
	_, err := vgimg.PngCanvas{Canvas: c}.WriteTo(w)
	return err
}
