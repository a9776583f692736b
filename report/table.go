package report

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dustin/go-humanize"

	"lte/internal/quote"
	"lte/record"
)

// Table prints the table at the end of a run. Errors of w are ignored, as Console ignores them.
func Table(w io.Writer, s record.Summary, dir string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, quote.Text(fmt.Sprintf(format, args...)))
	}
	method := s.Method
	if s.Heads > 0 {
		method += fmt.Sprintf(", %d × LoRA of rank %d, alpha %g", s.Heads, s.LoRARank, s.LoRAAlpha)
	}
	row("method", "%s", method)
	row("model", "%s, %s parameters, %s trained on each rank", s.Model, humanize.Comma(s.Parameters), humanize.Comma(s.Trained))
	row("data", "%s", s.Dataset)
	row("ranks", "%d", s.Ranks)
	row("test top-1", "%s (loss %.4f)", percent(s.TestTop1), s.TestLoss)
	speed := fmt.Sprintf("%s over %s steps in %s", rate(s.ImagesPerSecond), humanize.Comma(int64(s.Steps)), seconds(s.Seconds))
	if share := s.DataWait / s.Seconds; share >= 0.01 {
		speed += fmt.Sprintf(", %s of it waiting for data", percent(share))
	}
	row("images/s", "%s", speed)
	merges := humanize.Comma(int64(s.Merges))
	if s.Merges > 0 {
		merges += fmt.Sprintf(", one every %d steps", s.MergeEvery)
	}
	row("merges", "%s", merges)
	row("sent", "%s by each rank (decimal units: 1 MB = 1,000,000 bytes)", formatBytes(s.BytesSentPerRank))
	averaging := formatBytes(s.DDPBytesPerRank) + " by each rank over the same steps"
	if s.BytesSentPerRank > 0 {
		averaging += fmt.Sprintf(", %s × what was sent", rate(float64(s.DDPBytesPerRank)/float64(s.BytesSentPerRank)))
	}
	row("gradient averaging", "%s", averaging)
	row("run directory", "%s", dir)
	t.Flush()
}
