package experiment

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
)

// Write writes what was found into the folder: observations.md, results.csv and the curves.
func Write(dir string, results []Result, testImages int) error {
	all := Lines(results)
	drawn, err := draw(dir, all)
	if err != nil {
		return err
	}
	if err := create(filepath.Join(dir, "results.csv"), func(w io.Writer) error { return writeCSV(w, results) }); err != nil {
		return err
	}
	return create(filepath.Join(dir, "observations.md"), func(w io.Writer) error {
		return page.Execute(w, map[string]any{"Verdicts": Judge(all, testImages), "Lines": all, "Curves": drawn,
			"Setup": setup(results, testImages)})
	})
}

func create(path string, write func(io.Writer) error) error {
	var text strings.Builder
	err := write(&text)
	if err == nil {
		err = os.WriteFile(path, []byte(text.String()), 0o644)
	}
	if err != nil {
		return fmt.Errorf("experiment: cannot write %s: %w", filepath.Base(path), err)
	}
	return nil
}

var page = template.Must(template.New("observations").Funcs(template.FuncMap{"row": row}).Parse(`# The five observations

{{.Setup}}

| | observation | verdict | found | criterion |
| --- | --- | --- | --- | --- |
{{range .Verdicts}}| {{.Observation}} | {{.Claim}} | **{{.Outcome}}** | {{.Found}} | {{.Criterion}} |
{{end}}
## Runs

Top-1 is that of the final merged weights on the test split, with the standard deviation over the seeds where there are
several; bytes are what a rank sent. Gradient rank is from the first record after the warm-up to the last, update rank
that of W − W⁰ at the end, alignment the largest of all records.

| run | what | learning rate | images | top-1 | test loss | images/s | sent | gradient rank | update rank | alignment | Grassmann |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{{range .Lines}}{{row .}}
{{end}}{{range .Curves}}
![{{.Title}}]({{.File}})
{{end}}`))

// setup words what all runs have in common.
func setup(results []Result, testImages int) string {
	if len(results) == 0 {
		return "No run is finished."
	}
	r := results[0]
	s, c := r.Summary, r.Config
	return fmt.Sprintf("Data: %s, %d test images. Model: %s, %d parameters. Ranks: %d. A step: %d images, of all ranks and "+
		"heads together.\nSchedule: %s, warm-up of %d steps. Optimizer: %s, weight decay %g. Precision: %s.", s.Dataset,
		testImages, s.Model, s.Parameters, s.Ranks, s.Images/int64(s.Steps), c.Schedule.Kind, c.Schedule.Warmup,
		c.Optimizer.Name, c.Optimizer.WeightDecay, c.Compute.DType)
}

// row is a line of the table of runs.
func row(l Line) string {
	mean := func(number func(Result) float64, format string) string {
		x, spread := l.over(number)
		if math.IsNaN(x) {
			return "-"
		}
		if len(l.Runs) > 1 {
			return fmt.Sprintf(format+" ± "+format, x, spread)
		}
		return fmt.Sprintf(format, x)
	}
	c := l.Runs[0].Config
	about := strings.NewReplacer("{r}", strconv.Itoa(c.LoRA.Rank), "{N}", strconv.Itoa(c.LoRA.Heads),
		"{K}", strconv.Itoa(c.Merge.Every)).Replace(l.About)
	return "| " + strings.Join([]string{"`" + l.Name + "`", about, fmt.Sprint(c.Optimizer.LR),
		fmt.Sprint(l.Runs[0].Summary.Images),
		mean(func(r Result) float64 { return 100 * top1(r) }, "%.1f") + " %",
		mean(func(r Result) float64 { return r.Summary.TestLoss }, "%.3f"),
		mean(func(r Result) float64 { return r.Summary.ImagesPerSecond }, "%.0f"),
		mean(func(r Result) float64 { return float64(r.Summary.BytesSentPerRank) / 1e6 }, "%.1f") + " MB",
		mean(first(gradientRank), "%.1f") + " → " + mean(last(gradientRank), "%.1f"),
		mean(last(updateRank), "%.1f"), mean(largest(alignment), "%.3f"), mean(last(grassmann), "%.2f")}, " | ") + " |"
}

// writeCSV writes a row a run.
func writeCSV(to io.Writer, results []Result) error {
	w := csv.NewWriter(to)
	_ = w.Write([]string{"run", "method", "seed", "heads", "rank", "alpha", "merge_every", "lr", "steps", "images",
		"test_top1", "test_loss", "train_loss", "seconds", "images_per_second", "bytes_sent_per_rank",
		"gradient_rank_first", "gradient_rank_last", "update_rank_last", "alignment_largest", "grassmann_last"})
	number := func(x float64) string {
		if math.IsNaN(x) {
			return ""
		}
		return strconv.FormatFloat(x, 'g', -1, 64)
	}
	for _, r := range results {
		s := r.Summary
		_ = w.Write([]string{r.Line, s.Method, fmt.Sprint(s.Seed), fmt.Sprint(s.Heads), fmt.Sprint(s.LoRARank),
			number(s.LoRAAlpha), fmt.Sprint(s.MergeEvery), number(r.Config.Optimizer.LR), fmt.Sprint(s.Steps),
			fmt.Sprint(s.Images), number(s.TestTop1), number(s.TestLoss), number(s.TrainLoss), number(s.Seconds),
			number(s.ImagesPerSecond), fmt.Sprint(s.BytesSentPerRank), number(first(gradientRank)(r)),
			number(last(gradientRank)(r)), number(last(updateRank)(r)), number(largest(alignment)(r)), number(last(grassmann)(r))})
	}
	w.Flush() // keeps the first error
	return w.Error()
}
