package experiment

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"lte/collective"
	"lte/compare"
	"lte/config"
	"lte/report"
)

// Result is a finished run of a line.
type Result struct {
	Line string
	compare.Run
}

// Lines groups results by line, in the comparison's order; lines without a finished run are left out.
func Lines(results []Result) (all []compare.Line) {
	for _, l := range lines {
		of := compare.Line{Name: l.name, About: l.about}
		for _, r := range results {
			if r.Line == l.name {
				of.Runs = append(of.Runs, r.Run)
			}
		}
		if of.Runs != nil {
			all = append(all, of)
		}
	}
	return all
}

// Train has those of the runs trained that are wanted and not finished, in order, and returns all that are finished
// then, on rank 0. One that was interrupted is to be resumed. All ranks of the group call it; rank 0 alone reads the run directories. say, on rank 0, is told what
// is trained next, and what of it is done already. A run that fails ends it.
func Train(g collective.Group, runs []Run, do func(config.Config) error, say func(format string, args ...any)) ([]Result, error) {
	var results []Result
	for i, r := range runs {
		var found *Result
		var err error
		if g.Rank() == 0 {
			if found, err = r.find(); err != nil && !r.Wanted {
				err = nil // it is not asked for
			}
		}
		if err := collective.Agree(g, err); err != nil {
			return nil, err
		}
		todo := []float64{0}
		if g.Rank() == 0 && r.Wanted && found == nil {
			todo[0] = 1
		}
		if err := collective.Sum(g, todo); err != nil {
			return nil, err
		}
		where := fmt.Sprintf("run %d/%d, %s", i+1, len(runs), filepath.Base(r.Config.Run.Dir))
		if todo[0] == 0 {
			if found != nil {
				results = append(results, *found)
				warn(found.Skipped, say)
				say("%s: finished before, top-1 %.1f %%", where, 100*found.Summary.TestTop1)
			}
			continue
		}
		say("%s: %d steps", where, r.Config.Train.Steps)
		if err := do(r.Config); err != nil {
			return nil, fmt.Errorf("%s: %w", r.Config.Run.Dir, err)
		}
		if g.Rank() == 0 {
			if found, err = r.find(); err == nil && found == nil {
				err = fmt.Errorf("experiment: %s holds no finished run after it was trained", r.Config.Run.Dir)
			}
			if err == nil {
				results = append(results, *found)
				warn(found.Skipped, say)
				say("%s: top-1 %.1f %% after %.0f s", where, 100*found.Summary.TestTop1, found.Summary.Seconds)
			}
		}
		if err := collective.Agree(g, err); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// warn says what of a run's records cannot be used.
func warn(skipped []string, say func(format string, args ...any)) {
	for _, text := range skipped {
		say("warning: %s", text)
	}
}

// Settings are the keys in which the run differs from the built-in configuration, as --set takes them.
func (r Run) Settings() (settings []string) {
	for _, key := range differences(config.Default(), r.Config) {
		settings = append(settings, key+"="+r.Config.Value(key))
	}
	return settings
}

// differences names the keys that make another run of it: neither where it is kept nor how often.
func differences(a, b config.Config) []string {
	return slices.DeleteFunc(config.Differences(a, b), func(key string) bool {
		return key == "run.dir" || strings.HasPrefix(key, "checkpoint.")
	})
}

// find returns the run if its directory holds it, finished; nil where there is none, or one that was interrupted. A directory with
// another run is a *config.Error.
func (r Run) find() (*Result, error) {
	dir := r.Config.Run.Dir
	found, err := compare.Read(dir)
	_, finished := report.Finished(dir)
	switch {
	case err == nil:
	case finished || !errors.Is(err, fs.ErrNotExist):
		return nil, err
	case !report.HoldsRun(dir):
		return nil, nil
	default: // it was interrupted
		was, err := config.Load(report.ConfigPath(dir), nil)
		if err == nil {
			err = r.same(was, "an interrupted run")
		}
		return nil, err
	}
	if err := r.same(found.Config, "a finished run"); err != nil {
		return nil, err
	}
	if got := found.Summary.Ranks; got != r.Ranks {
		return nil, &config.Error{Where: dir, Problem: fmt.Sprintf("holds a run of %d ranks, not %d; choose another --out, or remove it", got, r.Ranks)}
	}
	return &Result{Line: r.Line, Run: found}, nil
}

// same is a *config.Error if the run in the directory, which what names, is of another configuration.
func (r Run) same(was config.Config, what string) error {
	if keys := differences(was, r.Config); len(keys) > 0 {
		return &config.Error{Where: r.Config.Run.Dir, Problem: fmt.Sprintf("holds %s of another configuration (%s differs); choose another --out, or remove it", what, keys[0])}
	}
	return nil
}
