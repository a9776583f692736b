package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"lte/checkpoint"
	"lte/train"

	"github.com/dustin/go-humanize"
)

type checkpointCommands struct {
	Inspect inspectCommand `cmd:"" help:"Show a checkpoint, or all of a run, and verify every byte. The exit code is 1 if one is not whole."`
}

type inspectCommand struct {
	Path    string `arg:"" help:"A run directory, or a checkpoint in it." placeholder:"PATH"`
	Tensors bool   `help:"List every tensor."`
	Config  bool   `help:"Print the run's configuration, too."`
}

// runInspect shows and verifies checkpoints.
func runInspect(c inspectCommand, stdout, stderr io.Writer) int {
	all, err := checkpoint.Verify(c.Path)
	if err != nil {
		return complain(stderr, err)
	}
	code := 0
	for i, v := range all {
		if i > 0 {
			fmt.Fprintln(stdout)
		}
		c.show(stdout, v)
		if !v.Whole() {
			code = failed
		}
	}
	return code
}

func (c inspectCommand) show(w io.Writer, v checkpoint.Verified) {
	state := "whole"
	if !v.Whole() {
		state = "NOT WHOLE"
	}
	fmt.Fprintf(w, "%s: %s", v.Path, state)
	if v.Links != nil {
		fmt.Fprintf(w, " (%s)", strings.Join(v.Links, ", "))
	}
	fmt.Fprintln(w)
	if v.Err != nil {
		fmt.Fprintf(w, "  %v\n", v.Err)
		return
	}
	m := v.Manifest
	fmt.Fprintf(w, "  step %d of %d ranks, written %s by version %s\n", m.Step, m.Ranks, m.Created.Format(time.RFC3339), m.Version)
	if a, err := (train.Saved{Manifest: m}).About(); err != nil {
		fmt.Fprintf(w, "  %v\n", err)
	} else {
		fmt.Fprintf(w, "  %s, %s on %s: %d merges, %s images in %s; best top-1 so far %.1f %%\n", a.Method, a.Model, a.Dataset.Name, a.Merges,
			humanize.Comma(a.Images), time.Duration(a.Seconds*float64(time.Second)).Round(time.Second), 100*a.Best)
	}
	for _, p := range v.Parts {
		what := fmt.Sprintf("%d tensors, whole", len(p.Tensors))
		if p.Err != nil {
			what = p.Err.Error()
		}
		fmt.Fprintf(w, "  %-26s %10s  xxh64 %s  %s\n", p.Name, humanize.Bytes(uint64(p.Bytes)), p.XXH64, what)
		if c.Tensors {
			for _, t := range p.Tensors {
				fmt.Fprintf(w, "    %-52s %4s × %-9d  xxh64 %s\n", t.Name, t.Type, uint64(len(t.Bytes))/t.Type.Size(), t.Checksum())
			}
		}
	}
	if c.Config {
		fmt.Fprintf(w, "\n%s", m.Config)
	}
}
