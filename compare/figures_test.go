package compare

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Fails if a figure draws another number, or over another, or draws a record that lacks it: nothing is sent before the first merge.
func TestCurves(t *testing.T) {
	r := made("lte", 1, 0.8)
	r.Records[0].BytesSent = 0
	want := map[string][]point{
		"accuracy-images":  {{250, 0.2, 0}, {500, 0.4, 0}, {750, 0.6, 0}, {1000, 0.8, 0}},
		"accuracy-bytes":   {{2e6, 0.4, 0}, {3e6, 0.6, 0}, {4e6, 0.8, 0}},
		"accuracy-seconds": {{2, 0.2, 0}, {4, 0.4, 0}, {6, 0.6, 0}, {8, 0.8, 0}},
		"gradient-rank":    {{250, 40, 0}, {500, 10, 0}, {750, 15, 0}, {1000, 20, 0}},
		"alignment":        {{250, 0.03, 0}, {500, 0.01, 0}, {750, 0.02, 0}, {1000, 0.011, 0}},
	}
	for _, f := range Panels([]Run{made("full", 1, 0.9), r})[0].figures("x-") {
		last := f.series[len(f.series)-1]
		points, ok := want[strings.TrimPrefix(f.file, "x-")]
		near := func(a, b point) bool { return a.x == b.x && math.Abs(a.y-b.y) < 1e-12 && a.std == b.std }
		if !ok || last.name != "lte" || !slices.EqualFunc(last.points, points, near) {
			t.Errorf("%s draws %v", f.file, last)
		}
		if lines := map[string]int{"x-alignment": 1}[f.file]; len(f.series) != 2-lines {
			t.Errorf("%s has %d curves", f.file, len(f.series))
		}
		delete(want, strings.TrimPrefix(f.file, "x-"))
	}
	if len(want) > 0 {
		t.Errorf("not drawn: %v", want)
	}
}

// Fails if the records of several seeds are matched by anything but their steps: a run may lack a record.
func TestCurvesAreMeansAtEqualSteps(t *testing.T) {
	hole := made("full", 2, 0.6)
	hole.Records = slices.Delete(hole.Records, 1, 2)
	short := made("full", 3, 0.4)
	short.Records = short.Records[:1]
	got := curves[0].points(Variant{Runs: []Run{made("full", 1, 0.8), hole, short}})
	// 0.2, 0.15 and 0.1; 0.4; 0.6 and 0.45; 0.8 and 0.6.
	want := []point{{250, 0.15, 0.05}, {500, 0.4, 0}, {750, 0.525, 0.075 * math.Sqrt2}, {1000, 0.7, 0.1 * math.Sqrt2}}
	near := func(a, b point) bool {
		return a.x == b.x && math.Abs(a.y-b.y) < 1e-12 && math.Abs(a.std-b.std) < 1e-12
	}
	if !slices.EqualFunc(got, want, near) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
}

// Fails if a figure over a setting misses a variant, joins others or lacks full's horizontal line, if a figure over scale mixes data
// sets, or if a panel lacks a figure.
func TestFinalFigures(t *testing.T) {
	elsewhere := []Run{made("full", 1, 0.5), made("full", 1, 0.6, "model.width=32")}
	for i := range elsewhere {
		elsewhere[i].Summary.Dataset = "(a b.9)"
	}
	panels := Panels(append([]Run{
		made("full", 1, 0.9), made("full", 2, 0.7), made("full", 1, 0.8, "model.width=32"),
		made("lte", 1, 0.5, "merge.every=10", "lora.rank=4"), made("lte", 1, 0.6, "merge.every=5", "lora.rank=4"),
		made("lte", 1, 0.7, "merge.every=10", "lora.rank=8"), made("lte", 1, 0.8, "merge.every=5", "lora.rank=8"),
		made("lte", 1, 0.85, "merge.every=5", "lora.rank=16"), // alone of its rank
		made("lte", 1, 0.4, "model.width=32", "merge.every=5", "lora.rank=8"),
	}, elsewhere...))
	names := func(f figure) (all []string) {
		for _, s := range f.series {
			all = append(all, s.name)
		}
		return all
	}
	near := func(a, b point) bool {
		return a.x == b.x && math.Abs(a.y-b.y) < 1e-12 && math.Abs(a.std-b.std) < 1e-12
	}
	panel := panels[3] // digits, of width 64
	f := panel.final("merge.every")
	if got := names(f); !slices.Equal(got, []string{"lte r=4", "lte r=8", "full"}) || !f.series[2].level {
		t.Fatalf("%q", got)
	}
	if got := f.series[1].points; !slices.Equal(got, []point{{5, 0.8, 0}, {10, 0.7, 0}}) {
		t.Errorf("%v", got)
	}
	if got := f.series[2].points[0]; math.Abs(got.y-0.8) > 1e-12 {
		t.Errorf("full at %v", got)
	}
	if !slices.Equal(f.x.at, []float64{5, 10}) || f.x.label != "merge.every" || !f.x.log || f.Title != "Final test accuracy over K" {
		t.Errorf("%s: %+v", f.Title, f.x)
	}
	if f := panel.final("lora.heads"); f.series != nil {
		t.Errorf("a figure of nothing: %q", names(f))
	}
	var files []string
	for _, f := range panel.figures("x-") {
		files = append(files, f.file)
	}
	if want := "x-accuracy-images x-accuracy-bytes x-accuracy-seconds x-gradient-rank x-alignment x-final-lora-rank x-final-merge-every"; strings.Join(files, " ") != want {
		t.Errorf("figures %q, want %s", files, want)
	}
	all := scales(panels)
	if len(all) != 2 || all[0].file != "final-scale-a-b-9" || all[1].file != "final-scale-digits" || !slices.Equal(names(all[0]), []string{"full"}) {
		t.Fatalf("%+v", all)
	}
	if !slices.EqualFunc(all[1].series[0].points, []point{{32000, 0.8, 0}, {64000, 0.8, 0.1 * math.Sqrt2}}, near) || !all[1].bars || !all[1].x.log {
		t.Errorf("%+v", all[1])
	}
	if all := scales(panels[3:]); len(all) > 0 {
		t.Errorf("over one size: %+v", all)
	}
}

// drawing holds the paths of an SVG by style, and its texts with their x.
type drawing struct {
	paths map[string][][]point
	texts []string
	at    map[string]float64
}

func read(svg string) drawing {
	d := drawing{paths: map[string][][]point{}, at: map[string]float64{}}
	for _, m := range regexp.MustCompile(`<path d="([^"]*)" style="([^"]*)"`).FindAllStringSubmatch(svg, -1) {
		var path []point
		for _, xy := range regexp.MustCompile(`[ML]([\d.]+),([\d.]+)`).FindAllStringSubmatch(m[1], -1) {
			x, _ := strconv.ParseFloat(xy[1], 64)
			y, _ := strconv.ParseFloat(xy[2], 64)
			path = append(path, point{x: x, y: y})
		}
		d.paths[m[2]] = append(d.paths[m[2]], path)
	}
	for _, m := range regexp.MustCompile(`<text x="([^"]*)"[^>]*>([^<]*)<`).FindAllStringSubmatch(svg, -1) {
		d.texts = append(d.texts, m[2])
		d.at[m[2]], _ = strconv.ParseFloat(m[1], 64)
	}
	return d
}

// A curve of 20, 40 and 80 % over 1, 10 and 100 MB, ± 5, 10 and 5 points, and a horizontal line at 60 %. Fails if a point, a tick, the
// deviations as band or bars, the horizontal line or the name of a curve is misplaced, or if a label is wrong.
func TestDrawing(t *testing.T) {
	f := figure{x: byBytes, y: asAccuracy, series: []series{{name: "lte", points: []point{{1e6, 0.2, 0.05}, {1e7, 0.4, 0.1}, {1e8, 0.8, 0.05}}},
		{name: "full", level: true, points: []point{{math.NaN(), 0.6, 0.01}}}}}
	for _, f.bars = range []bool{false, true} {
		d := read(f.svg(lineStyles([]string{"full", "lte"})))
		if want := []string{"bytes sent per rank", "1 MB", "10 MB", "100 MB", "test top-1", "20 %", "40 %", "60 %", "80 %", "lte", "full"}; !slices.Equal(d.texts, want) {
			t.Fatalf("it says %q, want %q", d.texts, want)
		}
		const axes, grid, lte, full = "fill:none;stroke:#555555;stroke-width:0.5", "fill:none;stroke:#DDDDDD;stroke-width:0.25",
			"fill:none;stroke:#0072B2;stroke-width:1.4", "fill:none;stroke:#1A1A1A;stroke-width:1.4"
		x := func(decade int) float64 { return d.paths[axes][decade][0].x } // of the tick
		y := func(accuracy float64) float64 {
			first, second := d.paths[grid][0][0].y, d.paths[grid][1][0].y // at 20 and 40 %
			return first + (accuracy-0.2)/0.2*(second-first)
		}
		near := func(what string, got []point, want ...point) {
			t.Helper()
			if !slices.EqualFunc(got, want, func(a, b point) bool { return math.Abs(a.x-b.x) < 0.01 && math.Abs(a.y-b.y) < 0.05 }) {
				t.Errorf("bars %t: %s at %v, want %v", f.bars, what, got, want)
			}
		}
		near("the ticks", []point{{x: x(0) + x(2)}}, point{x: 2 * x(1)})
		near("the curve", d.paths[lte][0], point{x: x(0), y: y(0.2)}, point{x: x(1), y: y(0.4)}, point{x: x(2), y: y(0.8)})
		near("the points", slices.Concat(d.paths["fill:#0072B2"]...), point{x: x(0) + 1.8, y: y(0.2)}, point{x: x(1) + 1.8, y: y(0.4)}, point{x: x(2) + 1.8, y: y(0.8)})
		near("the names", []point{{x: d.at["lte"]}, {x: d.at["full"]}}, point{x: x(2) + labelGap}, point{x: x(2) + labelGap})
		near("the level", d.paths[full][0], point{x: x(0), y: y(0.6)}, point{x: x(2), y: y(0.6)})
		if f.bars {
			bars := slices.Concat(d.paths["fill:none;stroke:#0072B2;stroke-width:0.8"]...)
			near("the bars", bars, point{x: x(0), y: y(0.15)}, point{x: x(0), y: y(0.25)}, point{x: x(1), y: y(0.3)}, point{x: x(1), y: y(0.5)},
				point{x: x(2), y: y(0.75)}, point{x: x(2), y: y(0.85)})
			continue
		}
		band := d.paths["fill:#0071B1;fill-opacity:0.15686"][0]
		near("the band", band, point{x: x(0), y: y(0.25)}, point{x: x(1), y: y(0.5)}, point{x: x(2), y: y(0.85)},
			point{x: x(2), y: y(0.75)}, point{x: x(1), y: y(0.3)}, point{x: x(0), y: y(0.15)})
	}
}

// Fails if ticks are not at round numbers, too few, too many, or outside the axis.
func TestTicks(t *testing.T) {
	for _, c := range []struct {
		axis      axis
		low, high float64
		want      string
	}{
		{bySeconds, 0, 1, "0 0.2 0.4 0.6 0.8 1"},
		{bySeconds, -0.3, 0.8, "-0.2 0 0.2 0.4 0.6 0.8"},
		{bySeconds, -0.1, 1.7, "0 0.5 1 1.5"}, // not -0
		{bySeconds, 3, 7, "3 4 5 6 7"},
		{asAccuracy, 0.2, 0.9, "20 % 40 % 60 % 80 %"},
		{byImages, 1000, 64000, "20k 40k 60k"},
		{byBytes, 1e6, 1e8, "1 MB 10 MB 100 MB"},
		{byBytes, 1e6, 9e6, "1 MB 2 MB 5 MB"},
		{byBytes, 3e5, 4e7, "1 MB 10 MB"},
		{byBytes, 1e6, 4e6, "1 MB 2 MB 3 MB 4 MB"}, // short: as if it were not logarithmic
		{axis{format: plain, log: true, at: []float64{5, 7, 10}}, 5, 10, "5 7 10"},
	} {
		var got []string
		for _, tick := range c.axis.Ticks(c.low, c.high) {
			got = append(got, tick.Label)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%g to %g: %q, want %s", c.low, c.high, got, c.want)
		}
	}
}

// Fails if two of two dozen names have the same style, or one name has two.
func TestLineStylesAreDistinct(t *testing.T) {
	names := []string{"full"}
	for k := range 24 {
		names = append(names, fmt.Sprint("lte K=", k), "full", fmt.Sprint("lte K=", k))
	}
	all := lineStyles(names)
	seen := map[string]bool{}
	for _, l := range all {
		seen[fmt.Sprint(l)] = true
	}
	if len(all) != 25 || len(seen) != 25 || all["full"].color != black {
		t.Errorf("%d names, %d styles", len(all), len(seen))
	}
}
