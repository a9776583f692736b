package cli

import (
	"fmt"
	"path/filepath"
	"time"

	"lte/compare"
	"lte/config"
	"lte/internal/quote"
)

// reportCommand is lte report.
type reportCommand struct {
	Runs   []string `arg:"" name:"run" help:"Run directories, or folders of them."`
	Expect string   `help:"List of the expected run directories, one per line, relative to the list's folder; runs that are missing or not finished are named." placeholder:"FILE"`
	Out    string   `help:"Folder of the page, the figures and the tables. A new one under runs/ by default." placeholder:"DIR"`
	Title  string   `help:"Title of the page." default:"Method comparison"`
}

// Run compares finished runs.
func (c reportCommand) Run(in *process) error {
	var expected []string
	var err error
	if c.Expect != "" {
		expected, err = compare.Expected(c.Expect)
	}
	var runs []compare.Run
	p := compare.Page{Title: c.Title}
	if err == nil {
		runs, p.Missing, err = compare.Collect(c.Runs, expected)
	}
	if err != nil {
		return err
	}
	for _, r := range runs {
		for _, warning := range r.Skipped {
			fmt.Fprintf(in.stderr, "lte: warning: %s\n", warning)
		}
	}
	for _, m := range p.Missing {
		fmt.Fprintf(in.stderr, "lte: missing: %s: %s\n", m.Dir, m.Why)
	}
	if len(runs) == 0 {
		return &config.Error{Problem: fmt.Sprintf("none of %d runs is finished: there is nothing to report", len(p.Missing))}
	}
	if c.Out == "" {
		c.Out = filepath.Join("runs", "report-"+time.Now().Format("20060102-150405"))
	}
	p.Panels = compare.Panels(runs)
	if _, err = p.Write(c.Out); err == nil {
		fmt.Fprintf(in.stdout, "%d runs, %d missing: %s\n", len(runs), len(p.Missing), quote.Text(filepath.Join(c.Out, compare.PageFile)))
	}
	return err
}
