package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"lte/checkpoint"
	"lte/internal/quote"
	"lte/internal/session"
	"lte/train"

	"github.com/dustin/go-humanize"
)

// checkpointCommands are those of lte checkpoint.
type checkpointCommands struct {
	Inspect inspectCommand `cmd:"" help:"Show a checkpoint, or all of a run, and verify every byte. The exit code is 1 if one is not valid."`
}

// inspectCommand is lte checkpoint inspect.
type inspectCommand struct {
	Path    string `arg:"" help:"A run directory, or a checkpoint in it." placeholder:"PATH"`
	Tensors bool   `help:"List every tensor."`
	Config  bool   `help:"Print the run's configuration, too."`
}

// Run shows and verifies checkpoints.
func (c inspectCommand) Run(p *process) error {
	all, err := checkpoint.Verify(c.Path)
	if err != nil {
		return err
	}
	for i, v := range all {
		if i > 0 {
			fmt.Fprintln(p.stdout)
		}
		if !c.show(p.stdout, v) {
			p.code = session.ExitFailed
		}
	}
	return nil
}

// show prints a checkpoint and reports whether it is valid. All of its text is quoted: it may come from anybody.
func (c inspectCommand) show(w io.Writer, v checkpoint.Verified) (valid bool) {
	line := func(format string, args ...any) { fmt.Fprintln(w, quote.Text(fmt.Sprintf(format, args...))) }
	a, err := train.Saved{Manifest: v.Manifest}.About()
	if v.Err != nil {
		err = v.Err
	}
	valid, state := err == nil && v.Valid(), "valid"
	if !valid {
		state = "INVALID"
	}
	if v.Links != nil {
		state += " (" + strings.Join(v.Links, ", ") + ")"
	}
	line("%s: %s", v.Path, state)
	if err != nil {
		line("  %v", err)
	}
	if v.Err != nil {
		return valid
	}
	m := v.Manifest
	line("  step %d of %d ranks, written %s by version %s", m.Step, m.Ranks, m.Created.Format(time.RFC3339), m.Version)
	if err == nil {
		line("  %s, %s on %s: %d merges, %s images in %s; best top-1 so far %.1f %%", a.Method, a.Model, a.Dataset.Name, a.Merges,
			humanize.Comma(a.Images), time.Duration(a.Seconds*float64(time.Second)).Round(time.Second), 100*a.Best)
	}
	for _, p := range v.Parts {
		what := fmt.Sprintf("%d tensors, valid", len(p.Tensors))
		if p.Err != nil {
			what = p.Err.Error()
		}
		line("  %-26s %10s  xxh64 %s  %s", p.Name, humanize.Bytes(uint64(p.Bytes)), p.XXH64, what)
		if c.Tensors {
			for _, t := range p.Tensors {
				line("    %-52s %4s × %-9d  xxh64 %s", t.Name, t.Type, uint64(t.Bytes)/t.Type.Size(), t.XXH64)
			}
		}
	}
	if c.Config {
		fmt.Fprintln(w)
		for text := range strings.Lines(m.Config) {
			line("%s", strings.TrimSuffix(text, "\n"))
		}
	}
	return valid
}
