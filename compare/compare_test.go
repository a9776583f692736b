package compare

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lte/config"
	"lte/record"
	"lte/report"
	"lte/train"
)

// made returns a finished run of four records, 250 images apart, whose accuracy grows linearly to top1. All its numbers differ.
func made(method string, seed int, top1 float64, set ...string) Run {
	c, err := config.LoadRecipe("paper", "", append([]string{"method=" + method, "schedule.warmup=15"}, set...))
	if err != nil {
		panic(err)
	}
	c.Seed, c.Run.Dir = uint64(seed), fmt.Sprintf("runs/%s-%d", method, seed)
	r := Run{Config: c, Summary: record.Summary{Method: method, Model: train.ModelName(c.Model), Dataset: "digits", Ranks: 2, Seed: c.Seed,
		Heads: 2, LoRARank: c.LoRA.Rank, LoRAAlpha: c.LoRA.Alpha, MergeEvery: c.Merge.Every,
		Steps: 40, Images: 1000, Seconds: 8, ImagesPerSecond: 125, TestTop1: top1, TestLoss: 0.25, TrainLoss: 0.5,
		Parameters: int64(1000 * c.Model.Width), BytesSentPerRank: 4e6, PeakMemory: 5e7}}
	losses, ranks, updates := []float64{1, 0.75, 0.625, 0.375}, []float64{40, 10, 15, 20}, []float64{5, 6, 8, 7}
	cosines, distances := []float64{0.03, 0.01, 0.02, 0.011}, []float64{0.9, 0.85, 0.95, 0.8}
	for i := range 4 {
		now := top1 * float64(i+1) / 4
		record := record.Record{Step: 10 * (i + 1), Images: int64(250 * (i + 1)), Seconds: float64(2 * (i + 1)), BytesSent: int64(1e6 * (i + 1)),
			TrainLoss: 2 * losses[i], TestTop1: &now, TestLoss: &losses[i], GradientRank: &ranks[i], UpdateRank: &updates[i]}
		if method == "lte" {
			record.Alignment, record.Grassmann = &cosines[i], &distances[i]
		}
		r.Records = append(r.Records, record)
	}
	return r
}

// writeRun writes a run directory, without a summary if the run is not finished.
func writeRun(t *testing.T, r Run, dir string, finished bool) {
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
		if err := record.WriteSummary(dir, r.Summary); err != nil {
			t.Fatal(err)
		}
	}
}

// Fails if a run does not read as it was written, if one that is missing or not finished is anything but fs.ErrNotExist, or if an
// invalid line is not named.
func TestRead(t *testing.T) {
	full := made("full", 1, 0.5)
	c := full.Config
	c.Run.Dir = filepath.Join(t.TempDir(), "run")
	if _, err := Read(c.Run.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	dir, err := report.CreateRunDir(c, "digits", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	f, err := report.NewFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, r := range full.Records {
		if err := f.Record(r); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Read(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no summary: %v", err)
	}
	if steps, ok := report.Finished(dir); ok || !report.HoldsRun(dir) || report.HoldsRun(t.TempDir()) {
		t.Errorf("no summary: %d steps are finished; a run: %t", steps, report.HoldsRun(dir))
	}
	want := record.Summary{Method: "full", Steps: 300, TestTop1: 0.5}
	if err := record.WriteSummary(dir, want); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil || !reflect.DeepEqual(got, Run{Config: c, Summary: want, Records: full.Records}) {
		t.Errorf("%v, %+v", err, got)
	}
	if steps, ok := report.Finished(dir); !ok || steps != 300 {
		t.Errorf("finished %t, %d steps", ok, steps)
	}
	if err := os.WriteFile(filepath.Join(dir, "metrics.jsonl"), []byte("{}\n{\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if r, err := Read(dir); err != nil || len(r.Skipped) != 2 || !strings.Contains(r.Skipped[1], "metrics.jsonl: line 2 ") {
		t.Errorf("damaged: %q, %v", r.Skipped, err)
	}
}

// Fails if a run that is not finished, or an expected one, is not named, or if a run is counted twice: by a relative and an absolute path,
// through a link to a parent folder, or from a list.
func TestCollect(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	writeRun(t, made("full", 1, 0.9), at("a/full-1"), true)
	writeRun(t, made("lte", 1, 0.8), at("a/lte-1"), true)
	writeRun(t, made("lte", 2, 0.8), at("a/lte-2"), false)
	list := at("tasks.txt")
	text := "a/full-1\n a/lte-2\t\n\n" + at("a/lte-2/") + "\na/lte-3\n"
	if err := errors.Join(os.WriteFile(list, []byte(text), 0o644), os.Mkdir(at("a/config.toml"), 0o755), os.Symlink(root, at("link")),
		os.WriteFile(at("a/lte-3"+FailedSuffix), []byte("exit code 2\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	expected, err := Expected(list)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	runs, missing, err := Collect([]string{root, at("a/full-1"), "a"}, expected)
	if err != nil || len(runs) != 2 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	want := []Missing{{at("a/lte-2"), "not finished: last record at step 40 of 1600"}, {at("a/lte-3"), "not started; exit code 2"}}
	if !slices.Equal(missing, want) {
		t.Errorf("missing %q, want %q", missing, want)
	}
	if runs, _, err := Collect([]string{at("link")}, nil); err != nil || len(runs) != 2 {
		t.Errorf("through a link: %d runs, %v", len(runs), err)
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

// Fails if a missing run is given another reason.
func TestReasonsOfMissingRuns(t *testing.T) {
	for _, c := range []struct {
		name, file, content string // what is changed in a run that has stopped; without a name nothing
		want                string
	}{
		{"stopped", "", "", "not finished: last record at step 40 of 1600"},
		{"stopped at once", "metrics.jsonl", "", "not finished: no record yet of 1600 steps"},
		{"damaged records", "metrics.jsonl", "{}\n{", "not finished: no record yet of 1600 steps; DIR/metrics.jsonl: line 1 is skipped: \"step\" is 0: expected more than 0; " +
			"DIR/metrics.jsonl: line 2 is skipped: unexpected end of JSON input"},
		{"damaged configuration", "config.toml", "[lora]\nrnk = 3\n", `DIR/config.toml:2: unknown key "lora.rnk"; did you mean "lora.rank"?`},
		{"damaged summary", "summary.json", "{", "record: reading DIR/summary.json: unexpected end of JSON input"},
		{"another summary", "summary.json", "{}", "record: reading DIR/summary.json: \"steps\" is 0: expected the summary of a finished run"},
	} {
		dir := filepath.Join(t.TempDir(), "lte-1")
		writeRun(t, made("lte", 1, 0.8), dir, false)
		if c.file != "" {
			if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		_, missing, err := Collect([]string{dir}, nil)
		want := []Missing{{dir, strings.ReplaceAll(c.want, "DIR", dir)}}
		if err != nil || !slices.Equal(missing, want) {
			t.Errorf("%s: %v, %q, want %q", c.name, err, missing, want)
		}
	}
}

// Fails if runs that differ in their seed are several variants, or if a name does not distinguish variants or has a needless setting.
func TestPanels(t *testing.T) {
	panels := Panels([]Run{
		made("mhlora", 1, 0.5), made("lte", 1, 0.8, "merge.every=10", "lora.rank=8"), made("full", 2, 0.9), made("full", 1, 0.7),
		made("lte", 1, 0.8, "merge.every=5", "lora.rank=8", "lora.alpha=3"), made("lte", 1, 0.8, "merge.every=10", "lora.rank=16"),
		made("full", 1, 0.5, "model.width=32"), made("lte", 2, 0.4, "model.width=32", "merge.every=5", "lora.rank=8"),
	})
	var got []string
	for _, p := range panels {
		for _, l := range p.Variants {
			got = append(got, p.Model+" "+l.Name)
		}
	}
	want := []string{"vit-32x4/2 full", "vit-32x4/2 lte r=8 K=5", "vit-64x4/2 full", "vit-64x4/2 lte r=8 K=5", "vit-64x4/2 lte r=8 K=10",
		"vit-64x4/2 lte r=16 K=10", "vit-64x4/2 mhlora"}
	if !slices.Equal(got, want) {
		t.Errorf("\n got %q\nwant %q", got, want)
	}
	if runs := panels[1].Variants[0].Runs; len(runs) != 2 {
		t.Errorf("full has %d runs, want those of two seeds", len(runs))
	}
	other := made("full", 3, 0.7)
	other.Summary.Ranks = 4
	for want, runs := range map[string][]Run{
		"full ranks=2, full ranks=4": {made("full", 1, 0.7), other},
		"lte exchange.wire=bf16, lte exchange.wire=fp32, lte exchange.wire=int8": {made("lte", 1, 0.7, "exchange.wire=int8"), made("lte", 1, 0.7), made("lte", 1, 0.7, "exchange.wire=bf16")},
		"lte data.rotate=3.0, lte data.rotate=4.0":                               {made("lte", 1, 0.7, "data.rotate=3"), made("lte", 2, 0.7, "data.rotate=4")},
	} {
		var names []string
		for _, l := range Panels(runs)[0].Variants {
			names = append(names, l.Name)
		}
		if got := strings.Join(names, ", "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// The mean of 0.3, 0.5 and 0.7 is 0.5, the deviation √(0.08/2); a run without the number is left out.
func TestMeanStd(t *testing.T) {
	l := Variant{Runs: []Run{made("full", 1, 0.3), made("full", 2, 0.5), made("full", 3, math.NaN()), made("full", 4, 0.7)}}
	mean, spread := l.MeanStd(Top1)
	if math.Abs(mean-0.5) > 1e-15 || math.Abs(spread-0.2) > 1e-15 {
		t.Errorf("%v ± %v", mean, spread)
	}
	if mean, _ := l.MeanStd(Largest(Alignment)); !math.IsNaN(mean) {
		t.Errorf("mean %v of nothing", mean)
	}
}

// The accuracy is 0.2 at 250 images and 0.8 at 1000; the first record is before the end of the warm-up. Fails if a record without the
// number counts, if another record counts as the first or last, or if the interpolation is wrong.
func TestNumbersOfRecords(t *testing.T) {
	r := made("full", 1, 0.8)
	r.Records[2].TestTop1, r.Records[3].UpdateRank, r.Records[0].GradientRank = nil, nil, nil
	for accuracy, want := range map[float64]float64{0.3: 375, 0.7: 875, 0.8: 1000, 0.9: math.NaN(), 0.2: 250, 0.1: 250} {
		if got := Reached(accuracy)(r); !(math.Abs(got-want) < 1e-9) && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("%v reached after %v images, want %v", accuracy, got, want)
		}
	}
	if first, last, most := First(UpdateRank)(r), Last(UpdateRank)(r), Largest(GradientRank)(r); first != 6 || last != 8 || most != 20 {
		t.Errorf("%v, %v, %v", first, last, most)
	}
	r.Config.Schedule.Warmup = 20 // that step's record is after it
	if first := First(UpdateRank)(r); first != 6 {
		t.Errorf("first after 20 steps: %v", first)
	}
}
