package main

import (
	"fmt"
	"io"
	"path/filepath"
	"time"

	"lte/compare"
	"lte/config"
	"lte/internal/quote"
)

// reportCommand is lte report.
type reportCommand struct {
	Runs   []string `arg:"" name:"run" help:"Run directories, or folders of them."`
	Expect string   `help:"List of expected run directories, one per line, relative to the folder of the list; those that are missing or not finished are reported." placeholder:"FILE"`
	Out    string   `help:"Output folder of the page, figures and tables; a new one under runs/ by default." placeholder:"DIR"`
	Title  string   `help:"Title of the page." default:"Method comparison"`
}

// runReport compares finished runs.
func runReport(command reportCommand, stdout, stderr io.Writer) int {
	var expected []string
	var err error
	if command.Expect != "" {
		expected, err = compare.Expected(command.Expect)
	}
	var runs []compare.Run
	p := compare.Page{Title: command.Title}
	if err == nil {
		runs, p.Missing, err = compare.Collect(command.Runs, expected)
	}
	if err != nil {
		return complain(stderr, err)
	}
	for _, r := range runs {
		for _, warning := range r.Skipped {
			fmt.Fprintf(stderr, "lte: warning: %s\n", warning)
		}
	}
	for _, m := range p.Missing {
		fmt.Fprintf(stderr, "lte: missing: %s: %s\n", m.Dir, m.Why)
	}
	if len(runs) == 0 {
		return complain(stderr, &config.Error{Problem: fmt.Sprintf("none of %d runs is finished: there is nothing to report", len(p.Missing))})
	}
	if command.Out == "" {
		command.Out = filepath.Join("runs", "report-"+time.Now().Format("20060102-150405"))
	}
	p.Panels = compare.Panels(runs)
	if _, err = p.Write(command.Out); err == nil {
		fmt.Fprintf(stdout, "%d runs, %d missing: %s\n", len(runs), len(p.Missing), quote.Text(filepath.Join(command.Out, compare.PageFile)))
	}
	return complain(stderr, err)
}
