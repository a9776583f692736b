// Package compare compares finished runs: it reads run directories, groups the runs that differ only in their seed, and draws the
// figures and tables of "Training Neural Networks from Scratch with Parallel Low-Rank Adapters" (Huh et al., arXiv 2402.16828), every
// method next to the baseline `full`, as an HTML page, SVG, PNG and CSV.
package compare

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"lte/config"
	"lte/internal/file"
	"lte/internal/quote"
	"lte/record"
)

// Run is a finished run. A number that was not finite reads as NaN.
type Run struct {
	Config  config.Config
	Summary record.Summary
	Records []record.Record
	Skipped []string // invalid lines of metrics.jsonl that were left out, and why
}

// Read reads the directory of a finished run. The error is fs.ErrNotExist if there is no run, or if it is not finished.
func Read(dir string) (r Run, err error) {
	if r.Summary, err = record.ReadSummary(dir); err != nil {
		return r, err
	}
	if r.Records, r.Skipped, err = record.ReadMetrics(dir); err != nil {
		return r, err
	}
	r.Config, err = config.Load(filepath.Join(dir, record.ConfigFile), nil)
	return r, err
}

// Missing is a run that is not finished or cannot be read. Both texts are as quote.Text returns them.
type Missing struct{ Dir, Why string }

// Collect reads the runs under the paths, each a run directory or a folder that contains some, and the expected run directories. missing
// lists those that are not finished or cannot be read. A path without any run is a *config.Error.
func Collect(paths, expected []string) (runs []Run, missing []Missing, err error) {
	var dirs []string
	for _, path := range paths {
		found, unreadable, err := findRuns(path)
		if err != nil {
			return nil, nil, err
		}
		dirs, missing = append(dirs, found...), append(missing, unreadable...)
	}
	seen := map[string]bool{}
	for _, dir := range append(dirs, expected...) {
		path, err := filepath.Abs(dir)
		if err != nil {
			return nil, nil, fmt.Errorf("compare: %w", err)
		}
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		if seen[path] {
			continue
		}
		seen[path] = true
		if r, err := Read(dir); err == nil {
			runs = append(runs, r)
		} else {
			missing = append(missing, Missing{quote.Text(dir), quote.Text(reason(dir, err))})
		}
	}
	return runs, missing, nil
}

// findRuns lists the run directories at and below a path, and the folders there that cannot be read.
func findRuns(path string) (dirs []string, unreadable []Missing, err error) {
	root := path + "/"
	err = filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && at != root:
			unreadable = append(unreadable, Missing{quote.Text(at), quote.Text(err.Error())})
			return nil
		case err == nil && !d.IsDir() && d.Name() == record.ConfigFile:
			dirs = append(dirs, filepath.Dir(at))
		}
		return err
	})
	switch {
	case err != nil:
		return nil, nil, &config.Error{Where: path, Err: err, Problem: fmt.Sprintf("cannot read runs there: %v; expected a run directory, or a folder of them", err)}
	case dirs == nil:
		return nil, nil, &config.Error{Where: path, Problem: "holds no run; expected a run directory, or a folder of them"}
	}
	return dirs, unreadable, nil
}

// reason describes why a run could not be read, and how far it has come. err is the error of Read.
func reason(dir string, err error) string {
	var parts []string
	c, badConfig := config.Load(filepath.Join(dir, record.ConfigFile), nil)
	records, skipped, badMetrics := record.ReadMetrics(dir)
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		parts = append(parts, err.Error())
	case errors.Is(badConfig, fs.ErrNotExist):
		parts = append(parts, "not started")
	case badConfig != nil:
		parts = append(parts, badConfig.Error())
	case badMetrics != nil && !errors.Is(badMetrics, fs.ErrNotExist):
		parts = append(parts, badMetrics.Error())
	case len(records) == 0:
		parts = append(parts, fmt.Sprintf("not finished: no record yet of %d steps", c.Train.Steps))
	default:
		parts = append(parts, fmt.Sprintf("not finished: last record at step %d of %d", records[len(records)-1].Step, c.Train.Steps))
	}
	parts = append(parts, skipped...)
	if cause, err := file.Read(dir+FailedSuffix, maxCause); err == nil {
		parts = append(parts, strings.Join(strings.Fields(string(cause)), " "))
	} else if !errors.Is(err, fs.ErrNotExist) {
		parts = append(parts, err.Error())
	}
	return strings.Join(parts, "; ")
}

// FailedSuffix, appended to the name of a run directory, names the file in which a job script writes why the run failed.
const FailedSuffix = ".failed"

// Bounds of what is read.
const (
	maxCause    = 4 << 10 // bytes of a file with FailedSuffix
	maxList     = 4 << 20 // bytes of a list of expected runs
	maxExpected = 100_000 // lines of it
)

// Expected reads a list of run directories, one per line, relative to the folder of the list.
func Expected(path string) (dirs []string, err error) {
	text, err := file.Read(path, maxList)
	if err != nil {
		return nil, &config.Error{Where: path, Err: err, Problem: fmt.Sprintf("cannot read the list of expected runs: %v", err)}
	}
	for line := range strings.Lines(string(text)) {
		name := strings.TrimSpace(line)
		switch {
		case name == "":
		case filepath.IsAbs(name):
			dirs = append(dirs, name)
		default:
			dirs = append(dirs, filepath.Join(filepath.Dir(path), name))
		}
		if len(dirs) > maxExpected {
			return nil, &config.Error{Where: path, Problem: fmt.Sprintf("more than %d lines: expected a list of run directories, one per line", maxExpected)}
		}
	}
	return dirs, nil
}
