package compare

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"lte/internal/quote"
)

// writeResults writes one row per run.
func writeResults(to io.Writer, panels []Panel) error {
	w := csv.NewWriter(to)
	_ = w.Write([]string{"run", "method", "seed", "dataset", "model", "parameters", "ranks", "heads", "rank", "alpha", "merge_every", "lr",
		"steps", "images", "test_top1", "test_loss", "train_loss", "seconds", "images_per_second", "bytes_sent_per_rank", "peak_memory",
		"gradient_rank_first", "gradient_rank_last", "update_rank_last", "alignment_largest", "grassmann_last"})
	for _, v := range allVariants(panels) {
		for _, r := range v.Runs {
			s := r.Summary
			_ = w.Write([]string{cell(v.Name), cell(s.Method), fmt.Sprint(s.Seed), cell(s.Dataset), cell(s.Model), fmt.Sprint(s.Parameters), fmt.Sprint(s.Ranks),
				fmt.Sprint(s.Heads), fmt.Sprint(s.LoRARank), number(s.LoRAAlpha), fmt.Sprint(s.MergeEvery), number(r.Config.Optimizer.LR),
				fmt.Sprint(s.Steps), fmt.Sprint(s.Images), number(s.TestTop1), number(s.TestLoss), number(s.TrainLoss), number(s.Seconds),
				number(s.ImagesPerSecond), fmt.Sprint(s.BytesSentPerRank), number(memory(r)), number(First(GradientRank)(r)),
				number(Last(GradientRank)(r)), number(Last(UpdateRank)(r)), number(Largest(Alignment)(r)), number(Last(Grassmann)(r))})
		}
	}
	w.Flush() // keeps the first error
	return w.Error()
}

// writeRecords writes one row per record of every run, the data of the figures.
func writeRecords(to io.Writer, panels []Panel) error {
	w := csv.NewWriter(to)
	_ = w.Write([]string{"run", "dataset", "model", "seed", "step", "images", "seconds", "bytes_sent_per_rank", "train_loss", "test_top1",
		"test_loss", "gradient_rank", "update_rank", "alignment", "grassmann"})
	for _, v := range allVariants(panels) {
		for _, r := range v.Runs {
			for _, at := range r.Records {
				_ = w.Write([]string{cell(v.Name), cell(r.Summary.Dataset), cell(r.Summary.Model), fmt.Sprint(r.Summary.Seed), fmt.Sprint(at.Step), fmt.Sprint(at.Images),
					number(at.Seconds), fmt.Sprint(at.BytesSent), number(at.TrainLoss), number(TestTop1(at)), number(testLoss(at)),
					number(GradientRank(at)), number(UpdateRank(at)), number(Alignment(at)), number(Grassmann(at))})
			}
		}
	}
	w.Flush()
	return w.Error()
}

// cell returns text that no spreadsheet takes for a formula, with an apostrophe before it if it starts like one.
func cell(text string) string {
	text = quote.Text(text)
	if text == "" || !strings.Contains("=+-@", text[:1]) {
		return text
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return text
	}
	return "'" + text
}

// number formats x, NaN as an empty text.
func number(x float64) string {
	if math.IsNaN(x) {
		return ""
	}
	return strconv.FormatFloat(x, 'g', -1, 64)
}
