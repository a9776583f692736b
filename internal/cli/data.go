package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"lte/config"
	"lte/data"
	"lte/data/fetch"
	"lte/data/survey"
	"lte/internal/file"
	"lte/internal/session"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

// dataCommands are those of lte data.
type dataCommands struct {
	Fetch fetchCommand `cmd:"" help:"Download a public set from its official address; an interrupted download is continued."`
	Info  infoCommand  `cmd:"" help:"Describe a set: kind, classes, counts, sizes, a histogram, a contact sheet."`
	Pack  packCommand  `cmd:"" help:"Decode a set once, into files that all ranks of a node read from the page cache."`
}

// fetchCommand is lte data fetch.
type fetchCommand struct {
	Name string `arg:"" help:"The set: one of ${sets}."`
	Dir  string `arg:"" optional:"" help:"Folder for its files; it is made. The set's name by default." placeholder:"DIR"`
}

// infoCommand is lte data info.
type infoCommand struct {
	Path         string  `arg:"" optional:"" help:"The set: whatever data.path may name; the embedded digits by default."`
	Kind         string  `help:"As data.kind." default:"auto"`
	Classes      string  `help:"As data.classes." placeholder:"FILE"`
	TestFraction float64 `help:"As data.test_fraction." default:"0.2"`
	Look         int     `help:"Images that are decoded, evenly spaced, for their sizes and whether they can be read; 0: all." default:"1000"`
	Sheet        string  `help:"Write a contact sheet." placeholder:"FILE.png"`
	JSON         bool    `name:"json" help:"Print JSON."`
}

// Run downloads a public set and prints how to use it.
func (f fetchCommand) Run(p *process) error {
	set, err := fetch.Lookup(f.Name)
	if err != nil {
		return &config.Error{Problem: err.Error(), Err: err}
	}
	dir := cmp.Or(f.Dir, f.Name)
	path, err := fetch.Fetcher{Progress: fetchProgress(p.stderr)}.Fetch(set, dir)
	if errors.Is(err, syscall.ENOTDIR) {
		return &config.Error{Problem: fmt.Sprintf("DIR is %q, expected a folder, or a name that is not taken (%v)", dir, err), Err: err}
	}
	if err != nil {
		return fmt.Errorf("fetching %s: %w", f.Name, err)
	}
	fmt.Fprintf(p.stdout, "%s: %s; use it with data.path = %q\n", f.Name, set.About, path)
	return nil
}

// fetchProgress draws a bar for each file on a terminal; elsewhere it prints a line for each file that is complete.
func fetchProgress(stderr io.Writer) func(file string, done, total int64) {
	terminal := isatty.IsTerminal(os.Stderr.Fd())
	var bar *progressbar.ProgressBar
	last := ""
	return func(file string, done, total int64) {
		if file != last && terminal {
			bar = progressbar.NewOptions64(max(total, -1), progressbar.OptionSetWriter(stderr), progressbar.OptionSetDescription(file),
				progressbar.OptionShowBytes(true), progressbar.OptionSetPredictTime(true), progressbar.OptionSetWidth(20),
				progressbar.OptionThrottle(200_000_000), progressbar.OptionOnCompletion(func() { fmt.Fprintln(stderr) }))
		}
		switch {
		case bar != nil:
			_ = bar.Set64(done) // a bar that cannot be drawn is no reason to stop
		case done == total:
			fmt.Fprintf(stderr, "%s: %d bytes\n", file, done)
		}
		last = file
	}
}

// Run describes a set.
func (i infoCommand) Run(p *process) error {
	if err := i.check(); err != nil {
		return err
	}
	set, err := data.Open(data.Source{Kind: i.Kind, Path: i.Path, Classes: i.Classes, TestFraction: i.TestFraction, Unread: true}, session.SplitSeed)
	if err != nil {
		return err
	}
	report := survey.Look(set, i.Look, runtime.GOMAXPROCS(0))
	if i.JSON {
		err = json.NewEncoder(p.stdout).Encode(report)
	} else {
		err = report.Write(p.stdout)
	}
	if err != nil || i.Sheet == "" {
		return err
	}
	return file.Write(i.Sheet, func(w io.Writer) error { return survey.Sheet(w, set, 20, 10) })
}

// check returns a usage error of the flags.
func (i infoCommand) check() error {
	if i.Look < 0 {
		return &config.Error{Problem: fmt.Sprintf("--look must be at least 0, not %d", i.Look)}
	}
	if !(i.TestFraction > 0 && i.TestFraction < 1) {
		return &config.Error{Problem: fmt.Sprintf("--test-fraction must be above 0 and below 1, not %v", i.TestFraction)}
	}
	if err := checkKind(i.Kind, i.Path); err != nil || i.Sheet == "" {
		return err
	}
	if info, err := os.Stat(filepath.Dir(i.Sheet)); err != nil || !info.IsDir() {
		return &config.Error{Problem: fmt.Sprintf("--sheet %q: there is no folder %q", i.Sheet, filepath.Dir(i.Sheet))}
	}
	if info, err := os.Stat(i.Sheet); err == nil && !info.Mode().IsRegular() {
		return &config.Error{Problem: fmt.Sprintf("--sheet %q: expected the name of a file that is to be written, not of a folder, a device or a FIFO", i.Sheet)}
	}
	return nil
}

// checkKind returns a usage error of an unknown kind, or of one that contradicts the path. Synthetic images are not a set to look at.
func checkKind(kind, path string) error {
	kinds := slices.DeleteFunc(data.Kinds(), func(k string) bool { return k == "synthetic" })
	switch {
	case !slices.Contains(kinds, kind):
		return &config.Error{Problem: fmt.Sprintf("--kind must be one of %s, not %q", strings.Join(kinds, ", "), kind)}
	case path == "" && kind != "auto" && kind != "digits":
		return &config.Error{Problem: fmt.Sprintf("--kind is %s, but there is no path: name the folder of the images, or leave out --kind", kind)}
	case path != "" && kind == "digits":
		return &config.Error{Problem: fmt.Sprintf("--kind is digits, which are in the program itself, but the path is %q: leave out one of the two", path)}
	}
	return nil
}
