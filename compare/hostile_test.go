package compare

import (
	"encoding/csv"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"lte/config"
	"lte/internal/file"
	"lte/internal/quote"
)

// extremes are numbers whose sums, differences, quotients and logarithms overflow or underflow.
var extremes = []float64{0, math.Copysign(0, -1), 1, -1, 5e-324, -5e-324, 1e-308, 1e-100, 1e-9, 1 - 1e-16, 1 + 1e-15, 1e9, 9007199254740991, 9007199254740993,
	1e15, 1e100, 1e308, -1e308, math.MaxFloat64, -math.MaxFloat64, math.Inf(1), math.Inf(-1), math.NaN()}

// Fails if an axis between any two numbers is not finite, or has too many ticks or equal ones.
func TestTicksOfAnyRange(t *testing.T) {
	for _, a := range []axis{{format: plain}, {format: plain, log: true}, byBytes, byImages, asAccuracy, {format: whole}, {format: clock, log: true}} {
		for _, low := range extremes {
			for _, high := range extremes {
				if !a.contains(low) || !a.contains(high) || low > high {
					continue
				}
				from, to := a.span(low, high)
				if !(from < to) || !a.contains(from) || !a.contains(to) || math.IsInf(to-from, 0) || a.log && math.IsInf(to/from, 0) {
					t.Errorf("log %t: %g to %g is drawn from %g to %g", a.log, low, high, from, to)
				}
				all := a.Ticks(low, high)
				if len(all) > maxTicks {
					t.Errorf("log %t: %d ticks from %g to %g", a.log, len(all), low, high)
				}
				for i, tick := range all {
					if !a.contains(tick.Value) || tick.Label == "" || len(tick.Label) > 40 || i > 0 && !(tick.Value > all[i-1].Value) {
						t.Errorf("log %t: from %g to %g tick %d is %q at %g", a.log, low, high, i, tick.Label, tick.Value)
					}
				}
			}
		}
	}
}

var notDrawn = regexp.MustCompile(`NaN|Inf|[0-9]e\+?[0-9]{2}`)

// Fails if any number makes drawing loop, panic, or draw outside the figure.
func TestFiguresOfAnyNumbers(t *testing.T) {
	axes := []axis{byImages, byBytes, bySeconds, asAccuracy}
	for _, x := range axes {
		for i, first := range extremes {
			var points []point
			for _, v := range extremes[i:] {
				points = append(points, point{v, first, v}, point{first, v, first}, point{v, v, 0})
			}
			f := figure{x: x, y: asAccuracy, bars: i%2 == 0, series: []series{{name: "lte", points: points}, {name: "one", points: points[:1]},
				{name: "full", level: true, points: []point{{math.NaN(), first, math.NaN()}}}, {name: "none"}}}
			f.x.at = map[bool][]float64{true: {first, 1, math.NaN(), -1}}[i%3 == 0]
			for _, g := range drawable([]figure{f, {x: x, y: asAccuracy, series: f.series[3:]}, {x: x, y: asAccuracy, series: f.series[2:3]}}) {
				if len(g.series) < 1 || g.series[0].level {
					t.Errorf("%g: drawn are %+v", first, g.series)
				}
				if found := notDrawn.FindString(paths(g.svg(lineStyles([]string{"lte", "full"})))); found != "" {
					t.Errorf("%s, %g: there is %s in the picture", x.label, first, found)
				}
			}
		}
	}
	f := figure{x: byImages, y: asAccuracy, series: []series{{name: "lte", points: []point{{1e308, 5e-324, 1e308}, {1, -1e308, 0}}}}}
	if err := drawable([]figure{f})[0].png(io.Discard, lineStyles([]string{"lte"})); err != nil {
		t.Error(err)
	}
}

// paths returns an SVG without its texts.
func paths(svg string) string { return regexp.MustCompile(`>[^<]*</text>`).ReplaceAllString(svg, "") }

// Fails if a long name displaces the curve.
func TestLongNamesLeaveThePicture(t *testing.T) {
	name := strings.Repeat("字", 4000)
	d := read(figure{x: byImages, y: asAccuracy, series: []series{{name: name, points: []point{{1, 0.1, 0}, {2, 0.2, 0}}}}}.svg(lineStyles([]string{name})))
	drawn := d.paths["fill:none;stroke:#0072B2;stroke-width:1.4"]
	if len(drawn) != 1 || len(drawn[0]) != 2 || !(drawn[0][0].x < drawn[0][1].x) || drawn[0][1].x > width.Points() {
		t.Errorf("the curve is at %v", drawn)
	}
}

// Fails if a long curve keeps all of its points, or loses its ends.
func TestLongCurvesAreThinnedOut(t *testing.T) {
	for _, n := range []int{1, 2, maxPoints, maxPoints + 1, 2*maxPoints + 1, 1e6} {
		points := make([]point, n)
		for i := range points {
			points[i] = point{float64(i + 1), 0.5, 0}
		}
		got := drawable([]figure{{x: byImages, y: asAccuracy, series: []series{{name: "lte", points: points}}}})[0].series[0].points
		if len(got) > maxPoints+1 || got[0].x != 1 || got[len(got)-1].x != float64(n) || n <= maxPoints && len(got) != n {
			t.Errorf("of %d points %d, %v to %v", n, len(got), got[0], got[len(got)-1])
		}
	}
}

// Fails if a number of a record or a summary, valid or not, makes a report loop or panic.
func TestReportsOfAnyNumbers(t *testing.T) {
	for i, x := range []float64{0, 5e-324, 9007199254740993, 1e308, -1e308, math.NaN(), math.Inf(1)} {
		n := int64(min(max(x, -1<<62), 1<<62)) // of NaN whatever it is
		a, b := made("full", 1, x), made("lte", 2, 0.8)
		for _, r := range []*Run{&a, &b} {
			s := &r.Summary
			s.Images, s.Parameters, s.BytesSentPerRank, s.PeakMemory, s.Ranks = n, n, n, n, int(n)
			s.Seconds, s.ImagesPerSecond, s.TestLoss, s.TrainLoss = x, x, x, x
			for k := range r.Records {
				at := &r.Records[k]
				at.Images, at.BytesSent, at.Seconds, at.TestLoss = n, n-int64(k), x, &x
				at.GradientRank, at.UpdateRank, at.Alignment, at.Grassmann = &extremes[(i+k)%len(extremes)], &x, &x, &x
			}
		}
		done := make(chan error, 1)
		go func() {
			_, err := Page{Title: "t", Panels: Panels([]Run{a, b})}.Write(t.TempDir())
			done <- err
		}()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%g: %v", x, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%g: no end", x)
		}
	}
}

// Fails if text from the files of a run acts as markup, formula or control character in a report, or if two figures share a file.
func TestTextFromOutside(t *testing.T) {
	names := []string{"<script>alert(1)</script>", "=HYPERLINK(1)", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "a\nb\rc\td", "\x1b[31m\u202e\u0000", "a/b", "a-b", "a.b", "-1.5",
		"../../etc/passwd", "", strings.Repeat("d", 256), strings.Repeat("字", 80), `"'` + "`|&<"}
	root := t.TempDir()
	var dirs []string
	for i, name := range names {
		for _, width := range []string{"32", "64"} {
			r := made("lte", 1, 0.5, "model.width="+width)
			r.Summary.Dataset, r.Summary.Method = name, name
			if i > 0 && !strings.HasPrefix(name, "a") {
				r.Records = nil // nothing to draw
			}
			dirs = append(dirs, filepath.Join(root, fmt.Sprint("run", i, "-", width)))
			writeRun(t, r, dirs[len(dirs)-1], true)
		}
	}
	odd := filepath.Join(root, "odd\n\x1b[2J<b>")
	writeRun(t, made("lte", 1, 0.5), odd, false)
	runs, missing, err := Collect(append(dirs, odd), nil)
	if err != nil || len(runs) != len(dirs) || len(missing) != 1 || missing[0].Dir != quote.Text(odd) {
		t.Fatalf("%d runs, %q, %v", len(runs), missing, err)
	}
	out := t.TempDir()
	figures, err := Page{Title: "a\n\x1b<b>", Panels: Panels(runs), Missing: missing}.Write(out)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range figures {
		if seen[f.File] || filepath.Base(f.File) != f.File {
			t.Errorf("figure %q", f.File)
		}
		seen[f.File] = true
	}
	entries, err := os.ReadDir(out)
	if err != nil || len(entries) != 2*len(figures)+3 {
		t.Errorf("%d files of %d figures, %v", len(entries), len(figures), err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(out, e.Name()))
		if err != nil || strings.HasSuffix(e.Name(), ".png") {
			continue
		}
		if at := strings.IndexFunc(string(text), func(r rune) bool { return r != '\n' && r != '\t' && quote.Text(string(r)) != string(r) }); at >= 0 {
			t.Errorf("%s: %.20q", e.Name(), text[at:])
		}
		if strings.Contains(string(text), "<script") && !strings.HasSuffix(e.Name(), ".csv") {
			t.Errorf("%s has a script", e.Name())
		}
		switch filepath.Ext(e.Name()) {
		case ".svg":
			if err := xml.Unmarshal(text, new(struct{})); err != nil {
				t.Errorf("%s: %v", e.Name(), err)
			}
		case ".csv":
			rows, err := csv.NewReader(strings.NewReader(string(text))).ReadAll()
			if err != nil {
				t.Error(err)
			}
			for _, row := range rows {
				for _, field := range row {
					if strings.HasPrefix(field, "=") || strings.HasPrefix(field, "@") || strings.HasPrefix(field, "+1+") || strings.HasPrefix(field, "-2+") {
						t.Errorf("%s: %q", e.Name(), field)
					}
				}
			}
		}
	}
	ids := regexp.MustCompile(`<h2 id="([^"]*)"`).FindAllStringSubmatch(string(first(os.ReadFile(filepath.Join(out, PageFile)))), -1)
	for _, m := range ids {
		if seen["#"+m[1]] {
			t.Errorf("two sections are %q", m[1])
		}
		seen["#"+m[1]] = true
	}
	if len(ids) != len(dirs) {
		t.Errorf("%d sections of %d", len(ids), len(dirs))
	}
}

func first[T any](x T, err error) T {
	if err != nil {
		panic(err)
	}
	return x
}

func TestCellsAreNoFormulas(t *testing.T) {
	for text, want := range map[string]string{"": "", "a": "a", "=1": "'=1", "+a": "'+a", "-a": "'-a", "@a": "'@a", "-1.5": "-1.5", "+3e7": "+3e7", "-": "'-",
		"\t=1": `\t=1`, "\r\n": `\r\n`, "a=1": "a=1", "lte K=5": "lte K=5"} {
		if got := cell(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// Fails if a list, or the file with the reason of a failure, is read although it is no regular file or too large.
func TestListsAreRegularFilesOfBoundedLength(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	l, err := net.Listen("unix", at("socket"))
	if err := errors.Join(err, syscall.Mkfifo(at("fifo"), 0o644), os.WriteFile(at("large"), nil, 0o644), os.Truncate(at("large"), maxList+1),
		os.WriteFile(at("long"), []byte(strings.Repeat("a\n", maxExpected+1)), 0o644), os.Symlink("loop", at("loop")),
		os.WriteFile(at("odd"), []byte("no\x00where\n\x1b[2J\nlong"+strings.Repeat("g", 1<<17)), 0o644)); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, path := range []string{at("fifo"), at("socket"), "/dev/zero", dir, at("large"), at("long"), at("loop"), at("none")} {
		if _, err := Expected(path); !errors.As(err, new(*config.Error)) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	list, err := Expected(at("odd"))
	runs, missing, collected := Collect(nil, list)
	if err != nil || collected != nil || runs != nil || len(missing) != 3 || missing[1].Why != "not started" {
		t.Errorf("%v, %v, %q", err, collected, missing)
	}
	writeRun(t, made("lte", 1, 0.5), at("run"), false)
	for kind, make := range map[string]func(path string) error{
		file.ErrNotRegular.Error(): func(path string) error { return syscall.Mkfifo(path, 0o644) },
		file.ErrTooLarge.Error():   func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("x", maxCause+1)), 0o644) },
	} {
		if err := errors.Join(os.RemoveAll(at("run"+FailedSuffix)), make(at("run"+FailedSuffix))); err != nil {
			t.Fatal(err)
		}
		if _, missing, err := Collect([]string{at("run")}, nil); err != nil || len(missing) != 1 || !strings.Contains(missing[0].Why, kind) {
			t.Errorf("%v, %q, want %q", err, missing, kind)
		}
	}
}

// Fails if a run with two names counts twice, or if a loop of links is followed.
func TestOneRunByManyNames(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	writeRun(t, made("lte", 1, 0.5), at("run"), true)
	if err := errors.Join(os.Symlink("run", at("other")), os.Symlink(root, at("run/up")), os.Symlink("loop", at("loop"))); err != nil {
		t.Fatal(err)
	}
	runs, missing, err := Collect([]string{root, at("run"), at("run/"), at("./run/../run"), at("other"), at("run/up/run/up")}, []string{at("other")})
	if err != nil || len(runs) != 1 || missing != nil {
		t.Errorf("%d runs, %q, %v", len(runs), missing, err)
	}
	if _, _, err := Collect([]string{at("loop")}, nil); !errors.As(err, new(*config.Error)) {
		t.Errorf("a loop: %v", err)
	}
}

// Fails if grouping takes quadratic time: 4,000 runs, each with its own setting.
func TestManyRuns(t *testing.T) {
	one := made("lte", 1, 0.5)
	runs := make([]Run, 4000)
	for i := range runs {
		runs[i] = one
		runs[i].Config.Optimizer.LR = float64(i+1) / 4096
	}
	began := time.Now()
	panels := Panels(runs)
	if len(panels) != 1 || len(panels[0].Variants) != len(runs) || panels[0].Variants[1].Name != "lte optimizer.lr=0.00048828125" {
		t.Errorf("%d panels, %d variants, %s", len(panels), len(panels[0].Variants), panels[0].Variants[1].Name)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("took %v", took)
	}
}

// Fails if an invalid line of metrics.jsonl becomes a record, or excludes the run.
func TestInvalidRecordsAreLeftOut(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	writeRun(t, made("lte", 1, 0.5), dir, true)
	f := first(os.OpenFile(filepath.Join(dir, "metrics.jsonl"), os.O_APPEND|os.O_WRONLY, 0))
	_, err := f.WriteString(`{"step": 50, "images": 9007199254740993}` + "\n" + `{"step": 60, "seconds": 1e308}` + "\n" + `{"st`)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	runs, missing, err := Collect([]string{dir}, nil)
	if err != nil || len(runs) != 1 || missing != nil || len(runs[0].Records) != 4 || len(runs[0].Skipped) != 3 {
		t.Errorf("%v, %d runs, %q", err, len(runs), missing)
	}
}
