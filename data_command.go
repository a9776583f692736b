package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"lte/config"
	"lte/data"
	"lte/data/fetch"
	"lte/data/survey"
	"lte/internal/file"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

type fetchCommand struct {
	Name string `arg:"" help:"The set: one of ${sets}."`
	Dir  string `arg:"" optional:"" help:"Folder for its files; it is made. The set's name by default." placeholder:"DIR"`
}

type infoCommand struct {
	Path         string  `arg:"" optional:"" help:"What to look at: whatever data.path may name; the embedded digits by default."`
	Kind         string  `help:"As data.kind." default:"auto"`
	Classes      string  `help:"As data.classes." placeholder:"FILE"`
	TestFraction float64 `help:"As data.test_fraction." default:"0.2"`
	Look         int     `help:"Images that are decoded, evenly spaced, for their sizes and whether they can be read; 0: all." default:"1000"`
	Sheet        string  `help:"Write a contact sheet." placeholder:"FILE.png"`
	JSON         bool    `name:"json" help:"Print JSON."`
}

// setNames lists the sets that lte data fetch knows.
func setNames() string {
	var names []string
	for _, s := range fetch.Sets() {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

// runFetch downloads a public set and says how to use it.
func runFetch(f fetchCommand, stdout, stderr io.Writer) error {
	set, err := fetch.Lookup(f.Name)
	if err != nil {
		return &config.Error{Problem: err.Error()}
	}
	dir := f.Dir
	if dir == "" {
		dir = f.Name
	}
	path, err := fetch.Fetcher{Progress: fetchProgress(stderr)}.Fetch(set, dir)
	if err != nil {
		return fmt.Errorf("fetching %s: %w", f.Name, err)
	}
	fmt.Fprintf(stdout, "%s: %s; use it with data.path = %q\n", f.Name, set.About, path)
	return nil
}

// fetchProgress draws a bar a file on a terminal; elsewhere each file has a line when it is there.
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

// runInfo says what a set holds.
func runInfo(i infoCommand, stdout io.Writer) error {
	if i.Look < 0 {
		return &config.Error{Problem: fmt.Sprintf("--look must be at least 0, not %d", i.Look)}
	}
	set, err := data.Open(data.Source{Kind: i.Kind, Path: i.Path, Classes: i.Classes, TestFraction: i.TestFraction, Unread: true}, splitSeed)
	if err != nil {
		return err
	}
	report := survey.Look(set, i.Look, runtime.GOMAXPROCS(0))
	if i.JSON {
		err = json.NewEncoder(stdout).Encode(report)
	} else {
		err = report.Write(stdout)
	}
	if err != nil || i.Sheet == "" {
		return err
	}
	return file.Write(i.Sheet, func(w io.Writer) error { return survey.Sheet(w, set, 20, 10) })
}
