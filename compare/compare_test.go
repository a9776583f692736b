package compare

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lte/config"
	"lte/report"
	"lte/train"
)

// made is a finished run: its accuracy grows on a straight line to top1, at four records of 250 images each.
func made(method string, seed int, top1 float64, set ...string) Run {
	c, err := config.Load("", append([]string{"method=" + method, "schedule.warmup=15"}, set...))
	if err != nil {
		panic(err)
	}
	c.Seed = uint64(seed)
	r := Run{Config: c, Summary: train.Summary{Method: method, Model: train.ModelName(c.Model), Dataset: "digits", Ranks: 2, Seed: c.Seed,
		Steps: 40, Images: 1000, Seconds: 8, TestTop1: top1, Parameters: int64(1000 * c.Model.Width), BytesSentPerRank: 4e6, PeakMemory: 5e7}}
	ranks, cosines := []float64{40, 10, 15, 20}, []float64{0.03, 0.01, 0.02, 0.01}
	for i := range 4 {
		now := top1 * float64(i+1) / 4
		record := train.Record{Step: 10 * (i + 1), Images: int64(250 * (i + 1)), Seconds: float64(2 * (i + 1)), BytesSent: int64(1e6 * (i + 1)),
			TestTop1: &now, GradientRank: &ranks[i]}
		if method == "lte" {
			record.Alignment = &cosines[i]
		}
		r.Records = append(r.Records, record)
	}
	return r
}

// write makes a run directory; one that is not finished has no summary.
func (r Run) write(t *testing.T, dir string, finished bool) {
	t.Helper()
	r.Config.Run.Dir = dir
	if _, err := report.CreateRunDir(r.Config, r.Summary.Dataset, time.Now()); err != nil {
		t.Fatal(err)
	}
	files, err := report.NewFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	for _, record := range r.Records {
		if err := files.Record(record); err != nil {
			t.Fatal(err)
		}
	}
	if finished {
		if err := report.WriteSummary(dir, r.Summary); err != nil {
			t.Fatal(err)
		}
	}
}

// Fails if a run that is not finished, or was expected, goes unnamed, or one is counted twice.
func TestCollect(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	made("full", 1, 0.9).write(t, at("a/full-1"), true)
	made("lte", 1, 0.8).write(t, at("a/lte-1"), true)
	made("lte", 2, 0.8).write(t, at("a/lte-2"), false)
	list := at("tasks.txt")
	if err := os.WriteFile(list, []byte("a/full-1\na/lte-2\n\na/lte-3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("a/lte-3"+FailedSuffix), []byte("exit code 2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	expected, err := Expected(list)
	if err != nil {
		t.Fatal(err)
	}
	runs, missing, err := Collect([]string{root, at("a/full-1")}, expected)
	if err != nil || len(runs) != 2 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	want := []Missing{{at("a/lte-2"), "not finished: last record at step 40 of 1600"}, {at("a/lte-3"), "not begun; exit code 2"}}
	if !slices.Equal(missing, want) {
		t.Errorf("missing %q, want %q", missing, want)
	}
	if err := os.WriteFile(at("a/lte-1/summary.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, missing, _ = Collect([]string{at("a/lte-1")}, nil); len(missing) != 1 || !strings.Contains(missing[0].Why, "summary.json: unexpected end") {
		t.Errorf("a broken summary: %q", missing)
	}
	for _, path := range []string{at("nowhere"), t.TempDir()} {
		if _, _, err := Collect([]string{path}, nil); !errors.As(err, new(*config.Error)) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := Expected(at("nowhere")); !errors.As(err, new(*config.Error)) {
		t.Error(err)
	}
}

// Fails if seeds are not one line, a name does not tell lines apart, or tells more than it must.
func TestPanels(t *testing.T) {
	panels := Panels([]Run{
		made("mhlora", 1, 0.5), made("lte", 1, 0.8, "merge.every=10", "lora.rank=8"), made("full", 2, 0.9), made("full", 1, 0.7),
		made("lte", 1, 0.8, "merge.every=5", "lora.rank=8", "lora.alpha=3"), made("lte", 1, 0.8, "merge.every=10", "lora.rank=16"),
		made("full", 1, 0.5, "model.width=32"), made("lte", 2, 0.4, "model.width=32", "merge.every=5", "lora.rank=8"),
	})
	var got []string
	for _, p := range panels {
		for _, l := range p.Lines {
			got = append(got, p.Model+" "+l.Name)
		}
	}
	want := []string{"vit-32x4/2 full", "vit-32x4/2 lte r=8 K=5", "vit-64x4/2 full", "vit-64x4/2 lte r=8 K=5", "vit-64x4/2 lte r=8 K=10",
		"vit-64x4/2 lte r=16 K=10", "vit-64x4/2 mhlora"}
	if !slices.Equal(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
	if runs := panels[1].Lines[0].Runs; len(runs) != 2 {
		t.Errorf("full of two seeds is a line of %d", len(runs))
	}
	other := made("full", 3, 0.7)
	other.Summary.Ranks = 4
	if p := Panels([]Run{made("full", 1, 0.7), other}); len(p[0].Lines) != 2 || p[0].Lines[1].Name != "full ranks=4" {
		t.Errorf("other ranks: %+v", p[0].Lines)
	}
}

func TestOver(t *testing.T) {
	l := Line{Runs: []Run{made("full", 1, 0.3), made("full", 2, 0.5)}}
	mean, spread := l.Over(Top1)
	if math.Abs(mean-0.4) > 1e-15 || math.Abs(spread-0.1*math.Sqrt2) > 1e-15 {
		t.Errorf("%v ± %v", mean, spread)
	}
	if mean, _ := l.Over(Largest(Alignment)); !math.IsNaN(mean) {
		t.Errorf("mean %v of nothing", mean)
	}
}

// The accuracy is 0.2 at 250 images, 0.8 at 1000; the first record is before the warm-up's end.
func TestOfRecords(t *testing.T) {
	r := made("full", 1, 0.8)
	for accuracy, want := range map[float64]float64{0.3: 375, 0.7: 875, 0.9: math.NaN(), 0.1: math.NaN()} {
		if got := Reached(accuracy)(r); !(math.Abs(got-want) < 1e-9) && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("%v reached after %v images, want %v", accuracy, got, want)
		}
	}
	if first, last, most := First(GradientRank)(r), Last(GradientRank)(r), Largest(GradientRank)(r); first != 10 || last != 20 || most != 40 {
		t.Errorf("%v, %v, %v", first, last, most)
	}
}

// Numbers worked out by hand: lte ends 9 points below full, which was there after 900 images; localsgd was at full's
// 90 % after 947 of its own.
func TestTables(t *testing.T) {
	lte := made("lte", 1, 0.81)
	lte.Summary.BytesSentPerRank, lte.Summary.Images = 1e6, 1350
	p := Panels([]Run{made("full", 1, 0.9), lte, made("localsgd", 1, 0.94), made("localsgd", 2, 0.96)})[0]
	tables := p.Tables()
	want := map[string][][]string{
		"Accuracy": {
			{"full", "1", "0.0005", "1,000", "90.0", "-", "0.000", "-", "-"},
			{"lte", "1", "0.0005", "1,350", "81.0", "−9.0", "0.000", "not reached", "900 (+50 %)"},
			{"localsgd", "2", "0.0005", "1,000", "95.0 ± 1.4", "+5.0", "0.000 ± 0.000", "947 (−5 %)", "-"}},
		"Cost": {
			{"full", "8.0s", "0", "4 MB", "-", "50 MB"},
			{"lte", "8.0s", "0", "1 MB", "25 %", "50 MB"},
			{"localsgd", "8.0s ± 0.0s", "0 ± 0", "4 MB", "100 %", "50 MB ± 0 B"}},
		"Measured on the way": {
			{"full", "10.0 → 20.0", "-", "-", "-"},
			{"lte", "10.0 → 20.0", "-", "0.030", "-"},
			{"localsgd", "10.0 ± 0.0 → 20.0 ± 0.0", "-", "-", "-"}},
	}
	for _, table := range tables {
		for i, row := range table.Rows {
			if !slices.Equal(row, want[table.Title][i]) {
				t.Errorf("%s:\n got %q\nwant %q", table.Title, row, want[table.Title][i])
			}
		}
	}
	if len(tables) != len(want) {
		t.Errorf("%d tables", len(tables))
	}
	if text := tables[1].Markdown(); !strings.HasPrefix(text, "| run | time |") || !strings.Contains(text, "\n| `lte` | 8.0s |") {
		t.Error(text)
	}
	if numbers := tables[0].Numbers(); !slices.Equal(numbers, []bool{false, true, true, true, true, true, true, false, true}) {
		t.Errorf("columns of numbers: %v", numbers)
	}
}

// Fails if a figure over a setting leaves a line out, joins others, or forgets full's level.
func TestFinalFigures(t *testing.T) {
	panels := Panels([]Run{
		made("full", 1, 0.9), made("full", 1, 0.8, "model.width=32"),
		made("lte", 1, 0.5, "merge.every=10", "lora.rank=4"), made("lte", 1, 0.6, "merge.every=5", "lora.rank=4"),
		made("lte", 1, 0.7, "merge.every=10", "lora.rank=8"), made("lte", 1, 0.8, "merge.every=5", "lora.rank=8"),
		made("lte", 1, 0.85, "merge.every=5", "lora.rank=16"), // alone of its rank
		made("lte", 1, 0.4, "model.width=32", "merge.every=5", "lora.rank=8"),
	})
	names := func(f figure) (all []string) {
		for _, s := range f.series {
			all = append(all, s.name)
		}
		return all
	}
	f := panels[1].over("merge.every")
	if got := names(f); !slices.Equal(got, []string{"lte r=4", "lte r=8", "full"}) || !f.series[2].level {
		t.Fatalf("%q", got)
	}
	if got := f.series[1].points; !slices.Equal(got, []point{{5, 0.8, 0}, {10, 0.7, 0}}) {
		t.Errorf("%v", got)
	}
	if f := panels[1].over("lora.heads"); f.series != nil {
		t.Errorf("a figure of nothing: %q", names(f))
	}
	all := scales(panels)
	if len(all) != 1 || !slices.Equal(all[0].series[0].points, []point{{32000, 0.8, 0}, {64000, 0.9, 0}}) {
		t.Errorf("%+v", all)
	}
}

// Curves are means over the seeds, and of those alone that came as far.
func TestCurves(t *testing.T) {
	short := made("full", 2, 0.6)
	short.Records = short.Records[:2]
	got := curves[0].points(Line{Runs: []Run{made("full", 1, 0.8), short}})
	if len(got) != 4 || math.Abs(got[0].y-0.175) > 1e-12 || math.Abs(got[0].spread-0.05/math.Sqrt2) > 1e-12 || got[3] != (point{1000, 0.8, 0}) {
		t.Errorf("%v", got)
	}
}
