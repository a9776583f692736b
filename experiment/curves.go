package experiment

import (
	"fmt"
	"math"
	"path/filepath"

	"lte/train"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	_ "gonum.org/v1/plot/vg/vgsvg" // the format of the files
)

// Curve is one figure.
type Curve struct{ Title, File string }

// figure is what a curve shows.
type figure struct {
	Curve
	xLabel, yLabel string
	x, y           func(train.Record) float64
	logX           bool
}

var figures = []figure{
	{Curve{"Test accuracy over images", "accuracy-images.svg"}, "images seen", "test top-1", images, testTop1, false},
	{Curve{"Test accuracy over bytes sent by a rank", "accuracy-bytes.svg"}, "MB sent by a rank", "test top-1", megabytes, testTop1, true},
	{Curve{"Test accuracy over time", "accuracy-seconds.svg"}, "seconds", "test top-1", elapsed, testTop1, false},
	{Curve{"Effective rank of the gradients", "gradient-rank.svg"}, "images seen", "mean effective rank", images, gradientRank, false},
	{Curve{"Alignment of heads", "alignment.svg"}, "images seen", "mean |cosine|", images, alignment, false},
}

func images(r train.Record) float64    { return float64(r.Images) }
func megabytes(r train.Record) float64 { return float64(r.BytesSent) / 1e6 }
func elapsed(r train.Record) float64   { return r.Seconds }

// legend is the room to the right of the curves, over their own.
const legend = 0.25

// draw writes every figure for which there is anything to show, a line of the comparison each its curve: means over the
// seeds. It returns those that it wrote.
func draw(dir string, all []Line) (drawn []Curve, err error) {
	for _, f := range figures {
		p := plot.New()
		p.Title.Text, p.X.Label.Text, p.Y.Label.Text = f.Title, f.xLabel, f.yLabel
		p.Legend.Top = true
		p.Add(plotter.NewGrid())
		some := false
		for i, l := range all {
			points := f.points(l)
			if len(points) == 0 {
				continue
			}
			line, err := plotter.NewLine(points)
			if err != nil {
				return nil, fmt.Errorf("experiment: drawing %s: %w", f.File, err)
			}
			line.Color, line.Dashes, line.Width = plotutil.Color(i), plotutil.Dashes(i/7), vg.Points(1.5)
			p.Add(line)
			p.Legend.Add(l.Name, line)
			some = true
		}
		if !some {
			continue
		}
		if f.logX {
			p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
			p.X.Max *= math.Pow(p.X.Max/p.X.Min, legend)
		} else {
			p.X.Max += legend * (p.X.Max - p.X.Min)
		}
		if err := p.Save(16*vg.Centimeter, 10*vg.Centimeter, filepath.Join(dir, f.File)); err != nil {
			return nil, fmt.Errorf("experiment: drawing %s: %w", f.File, err)
		}
		drawn = append(drawn, f.Curve)
	}
	return drawn, nil
}

// points are the line's, means over its seeds at equal steps.
func (f figure) points(l Line) (points plotter.XYs) {
	for i := range l.Runs[0].Records {
		x, _ := l.over(f.record(i, f.x))
		y, _ := l.over(f.record(i, f.y))
		if math.IsNaN(x) || math.IsNaN(y) || f.logX && x <= 0 {
			continue
		}
		points = append(points, plotter.XY{X: x, Y: y})
	}
	return points
}

// record returns a number of the i-th record.
func (f figure) record(i int, number func(train.Record) float64) func(Result) float64 {
	return func(r Result) float64 {
		if i >= len(r.Records) {
			return math.NaN()
		}
		return number(r.Records[i])
	}
}
