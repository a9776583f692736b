// Package compare lays finished runs beside one another: it reads run directories, tells which runs differ by nothing
// but their seed, and makes of them the figures and tables of "Training Neural Networks from Scratch with Parallel
// Low-Rank Adapters" (Huh et al., arXiv 2402.16828), each method beside `full`, as a page of HTML, as SVG and PNG, and as
// CSV. What is trained, and what to conclude, is left to others.
package compare

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"lte/config"
	"lte/internal/file"
	"lte/internal/quote"
	"lte/method"
	"lte/report"
)

// Run is a finished run.
type Run = report.Run

// Missing is a run that should be there and did not come to its end, or cannot be read; both texts as quote.Text has them.
type Missing struct{ Dir, Why string }

// Collect reads the runs under the paths, each a run directory or a folder with run directories below it, and says which
// of them, and of those that were expected beside them, are not finished. A path without any run is a *config.Error.
func Collect(paths, expected []string) (runs []Run, missing []Missing, err error) {
	var dirs []string
	for _, path := range paths {
		found, closed, err := below(path)
		if err != nil {
			return nil, nil, err
		}
		dirs, missing = append(dirs, found...), append(missing, closed...)
	}
	dirs = append(dirs, expected...)
	seen := map[string]bool{}
	for _, dir := range dirs {
		place, err := filepath.Abs(dir)
		if err != nil {
			return nil, nil, fmt.Errorf("compare: %w", err)
		}
		if real, err := filepath.EvalSymlinks(place); err == nil {
			place = real
		}
		if seen[place] {
			continue
		}
		seen[place] = true
		r, err := report.Read(dir)
		switch {
		case err == nil:
			runs = append(runs, r)
		default:
			missing = append(missing, Missing{quote.Text(dir), quote.Text(why(dir, err))})
		}
	}
	return runs, missing, nil
}

// below lists the run directories at and below a path, and the folders there that cannot be read.
func below(path string) (dirs []string, closed []Missing, err error) {
	root := path + "/"
	err = filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && at != root:
			closed = append(closed, Missing{quote.Text(at), quote.Text(err.Error())})
			return nil
		case err == nil && !d.IsDir() && d.Name() == report.ConfigFile:
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
	return dirs, closed, nil
}

// why words how far a run came that cannot be read to its end.
func why(dir string, err error) string {
	var parts []string
	c, left := config.Load(report.ConfigPath(dir), nil)
	records, skipped, broken := report.Records(dir)
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		parts = append(parts, err.Error())
	case errors.Is(left, fs.ErrNotExist):
		parts = append(parts, "not begun")
	case left != nil:
		parts = append(parts, left.Error())
	case broken != nil && !errors.Is(broken, fs.ErrNotExist):
		parts = append(parts, broken.Error())
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

// FailedSuffix after the name of a run directory is the name of a file beside it in which whoever ran it says how it failed.
const FailedSuffix = ".failed"

// The most that is read of a file beside the run directories.
const (
	maxCause    = 4 << 10 // bytes, of one with FailedSuffix
	maxList     = 4 << 20 // bytes, of a list of expected runs
	maxExpected = 100_000 // runs
)

// Expected reads a list of run directories, one a line, relative to the folder of the list.
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
			return nil, &config.Error{Where: path, Problem: fmt.Sprintf("more than %d lines: expected a list of run directories, one a line", maxExpected)}
		}
	}
	return dirs, nil
}

// Panel is what can be compared: runs of one model on one data set, a line each method and setting, full first.
type Panel struct {
	Dataset, Model string
	Lines          []Line
}

// full is the line that all others stand beside: the first of method full; nil where there is none.
func (p Panel) full() *Line {
	i := slices.IndexFunc(p.Lines, func(l Line) bool { return l.method() == method.Baseline().Name })
	if i < 0 {
		return nil
	}
	return &p.Lines[i]
}

// parameters of the model.
func (p Panel) parameters() float64 { return float64(p.Lines[0].Runs[0].Summary.Parameters) }
