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

// Result is a finished run of a variant.
type Result struct {
	Variant string
	compare.Run
}

// Variants groups results by variant, in the order of training; variants without a finished run are left out.
func Variants(results []Result) (all []compare.Variant) {
	for _, v := range variants {
		of := compare.Variant{Name: v.name, About: v.about}
		for _, r := range results {
			if r.Variant == v.name {
				of.Runs = append(of.Runs, r.Run)
			}
		}
		if of.Runs != nil {
			all = append(all, of)
		}
	}
	return all
}

// Train trains the runs that are wanted and not finished, in order, and returns all finished ones on rank 0. All ranks of the group call
// it; rank 0 alone reads the run directories and prints progress. train resumes an interrupted run; its error ends the experiment.
func Train(g collective.Group, runs []Run, train func(config.Config) error, printf func(format string, args ...any)) ([]Result, error) {
	var results []Result
	for i, r := range runs {
		found, err := r.train(g, fmt.Sprintf("run %d/%d, %s", i+1, len(runs), r.name()), train, printf)
		if err != nil {
			return nil, err
		}
		if found != nil {
			results = append(results, *found)
		}
	}
	return results, nil
}

// name is the run directory's.
func (r Run) name() string { return filepath.Base(r.Config.Run.Dir) }

// train is Train of one run, described by a text; its result is nil on all ranks but the first, and of a run that is not wanted.
func (r Run) train(g collective.Group, what string, train func(config.Config) error, printf func(format string, args ...any)) (*Result, error) {
	found, missing, err := r.look(g)
	if err != nil {
		return nil, err
	}
	if missing {
		printf("%s: %d steps", what, r.Config.Train.Steps)
		if err := train(r.Config); err != nil {
			return nil, fmt.Errorf("%s: %w", r.Config.Run.Dir, err)
		}
		if g.Rank() == 0 {
			if found, err = r.find(); err == nil && found == nil {
				err = fmt.Errorf("experiment: %s holds no finished run after training", r.Config.Run.Dir)
			}
		}
		if err := collective.Agree(g, err); err != nil {
			return nil, err
		}
	}
	if found == nil {
		return nil, nil
	}
	for _, text := range found.Skipped {
		printf("warning: %s", text)
	}
	if missing {
		printf("%s: top-1 %.1f %% after %.0f s", what, 100*found.Summary.TestTop1, found.Summary.Seconds)
	} else {
		printf("%s: already finished, top-1 %.1f %%", what, 100*found.Summary.TestTop1)
	}
	return found, nil
}

// look returns the run on rank 0 if it is finished, and on all ranks whether it must be trained.
func (r Run) look(g collective.Group) (found *Result, missing bool, err error) {
	todo := []float64{0}
	if g.Rank() == 0 {
		if found, err = r.find(); err != nil && !r.Wanted {
			err = nil
		}
		if r.Wanted && found == nil {
			todo[0] = 1
		}
	}
	if err := collective.Agree(g, err); err != nil {
		return nil, false, err
	}
	err = collective.Sum(g, todo)
	return found, todo[0] > 0, err
}

// Settings returns the keys in which the run differs from the default configuration, as --set takes them.
func (r Run) Settings() (settings []string) {
	for _, key := range differences(config.Default(), r.Config) {
		settings = append(settings, key+"="+r.Config.Value(key))
	}
	return settings
}

// differences returns the keys that differ, apart from those of storage.
func differences(a, b config.Config) []string {
	return slices.DeleteFunc(config.Differences(a, b), func(key string) bool {
		return key == "run.dir" || strings.HasPrefix(key, "checkpoint.")
	})
}

// find returns the finished run of the directory, nil if there is none or it was interrupted; *config.Error if there is another run.
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
	default: // interrupted
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
	return &Result{Variant: r.Variant, Run: found}, nil
}

// same returns a *config.Error if the configuration in the directory is not that of the run.
func (r Run) same(was config.Config, what string) error {
	if keys := differences(was, r.Config); len(keys) > 0 {
		return &config.Error{Where: r.Config.Run.Dir, Problem: fmt.Sprintf("holds %s of another configuration (%s differs); choose another --out, or remove it", what, keys[0])}
	}
	return nil
}
