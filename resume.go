package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"lte/checkpoint"
	"lte/collective"
	"lte/config"
	"lte/mpi"
	"lte/report"
	"lte/train"
)

// auto is what --resume says for: go on where there is something to go on from, else begin.
const auto = "auto"

// load reads the effective configuration: of a run that is resumed its own, unless --config names another, and then what is
// set. Resume is then "" where there is nothing to go on with.
func (t *trainCommand) load() (c config.Config, err error) {
	if t.TimeLimit != nil {
		t.Set = append(t.Set, "run.time_limit="+strconv.FormatFloat(t.TimeLimit.Minutes(), 'g', -1, 64))
	}
	if t.Resume == "" {
		return t.settings.load()
	}
	dir := t.Resume
	if dir == auto {
		if c, err = t.settings.load(); err != nil {
			return c, err
		}
		if dir = c.Run.Dir; dir == "" {
			return c, &config.Error{Where: "--resume auto", Keys: []string{"run.dir"}, Problem: "which run? Say it with --run-dir"}
		}
		if !report.HoldsRun(dir) {
			t.Resume = ""
			return c, nil
		}
	} else if !report.HoldsRun(dir) {
		return c, &config.Error{Where: "--resume " + dir, Problem: "no run was begun there; expected its run directory, such as runs/NAME, or auto with --run-dir"}
	}
	s := t.settings
	s.RunDir = dir
	own := settings{Config: report.ConfigPath(dir)}
	if s.Config == "" {
		s.Config = own.Config
	}
	if c, err = s.load(); err != nil || c.LoRA.Heads > 0 {
		return c, err
	}
	was, err := own.load() // 0, one a rank: as many as there are, on whatever number of ranks
	c.LoRA.Heads = was.LoRA.Heads
	return c, err
}

// goOn finds the checkpoint from which a run goes on, on all ranks the same one; nil where there is none and auto is asked for.
// What is wrong with newer ones it says. The configuration must not contradict it.
func goOn(world *mpi.World, c config.Config, how string, stderr io.Writer) (*train.Saved, error) {
	store := openStore(c)
	steps, err := store.Steps()
	if err := collective.Agree(world, err); err != nil {
		return nil, err
	}
	var wrong []string
	for i := 0; ; i++ {
		next := uint64(0) // rank 0's counts, from 1
		if i < len(steps) {
			next = uint64(steps[i]) + 1
		}
		all, err := collective.Numbers(world, next)
		if err != nil {
			return nil, err
		}
		if all[0] == 0 {
			break
		}
		step := int(all[0]) - 1
		saved, err := readBack(world, store, step)
		texts, broken := collective.Tell(world, err)
		if broken != nil {
			return nil, broken
		}
		at := slices.IndexFunc(texts, func(text string) bool { return text != "" })
		if at < 0 {
			return saved, collective.Agree(world, admit(world, c, saved, stderr))
		}
		problem := fmt.Sprintf("%s: %s", store.Path(step), texts[at])
		if wrong = append(wrong, problem); world.Rank() == 0 {
			fmt.Fprintf(stderr, "lte: warning: %s; the one before is tried\n", problem)
		}
	}
	if how == auto {
		if world.Rank() == 0 {
			fmt.Fprintf(stderr, "lte: %s has no whole checkpoint: the run begins anew\n", c.Run.Dir)
		}
		return nil, nil
	}
	found := "has none"
	if wrong != nil {
		found = strings.Join(wrong, "; ")
	}
	return nil, collective.Agree(world, &config.Error{Where: "--resume " + c.Run.Dir, Problem: fmt.Sprintf("no whole checkpoint to go on from (%s); --resume auto begins anew", found)})
}

// readBack reads a checkpoint: the shared part, and a rank's own, or where there were more ranks each its share of theirs. So all of it
// is verified.
func readBack(world *mpi.World, store *checkpoint.Store, step int) (*train.Saved, error) {
	m, err := store.Read(step)
	if err != nil {
		return nil, err
	}
	var own *checkpoint.Part
	s := &train.Saved{Manifest: m}
	if s.Shared, err = store.Shared(m); err != nil {
		return nil, err
	}
	for rank := world.Rank(); rank < m.Ranks; rank += world.Size() {
		part, err := store.Rank(m, rank)
		if err != nil {
			return nil, err
		}
		if rank == world.Rank() {
			own = part
		}
	}
	s.Of = func(rank int) (*checkpoint.Part, error) {
		if rank == world.Rank() {
			return own, nil
		}
		return store.Rank(m, rank)
	}
	return s, nil
}

// admit says what is changed of the run, and refuses what cannot be.
func admit(world *mpi.World, c config.Config, s *train.Saved, stderr io.Writer) error {
	was, err := config.Read("config of the checkpoint", s.Manifest.Config)
	if err != nil {
		return err
	}
	changes := c.Changes(was)
	if err := config.Contradictions("--resume "+c.Run.Dir, changes); err != nil {
		return err
	}
	elastic, err := s.Elastic(c, world.Size())
	if err != nil || world.Rank() != 0 {
		return err
	}
	fmt.Fprintf(stderr, "lte: goes on after step %d of %s\n", s.Manifest.Step, c.Run.Dir)
	for _, change := range changes {
		if change.Key != "run.dir" {
			fmt.Fprintf(stderr, "lte: from here on %s\n", change)
		}
	}
	for _, text := range elastic {
		fmt.Fprintf(stderr, "lte: %s\n", text)
	}
	if v := s.Manifest.Version; v != version {
		fmt.Fprintf(stderr, "lte: warning: the checkpoint was written by version %s, and this is %s: the same bits are not promised\n", v, version)
	}
	return nil
}

func openStore(c config.Config) *checkpoint.Store {
	return checkpoint.Open(c.Run.Dir, c.Checkpoint.Keep, c.Checkpoint.Zstd)
}

// runDir makes the run directory, or makes that of a run that goes on ready for it: begun anew where it has no checkpoint.
func runDir(c config.Config, dataset string, from *train.Saved, console *report.Console) (string, error) {
	records := 0
	switch {
	case from != nil:
		about, err := from.About()
		if err != nil {
			return "", err
		}
		records = about.Records
	case c.Run.Dir == "" || !report.HoldsRun(c.Run.Dir):
		return report.CreateRunDir(c, dataset, time.Now())
	}
	lost, err := report.ResumeRunDir(c, records)
	if err == nil && lost > 0 {
		console.Warn(fmt.Sprintf("metrics.jsonl lacks the last %d records before the checkpoint", lost))
	}
	return c.Run.Dir, err
}

// finished says, on all ranks, whether the run that is to go on has come to its end.
func finished(world *mpi.World, c config.Config, stderr io.Writer) (bool, error) {
	mine := uint64(0) // rank 0's counts
	if steps, ok := report.Finished(c.Run.Dir); ok && c.Train.Steps == steps {
		mine = 1
	}
	all, err := collective.Numbers(world, mine)
	if err == nil && all[0] == 1 && world.Rank() == 0 {
		fmt.Fprintf(stderr, "lte: %s is finished, %d steps are done; a larger train.steps makes it longer\n", c.Run.Dir, c.Train.Steps)
	}
	return all[0] == 1, err
}

// tellDir brings the run directory, which rank 0 has made, to all ranks.
func (s site) tellDir(o *output) (string, error) {
	dir := ""
	if o != nil {
		dir = o.dir
	}
	dirs, err := collective.Texts(s.world, dir)
	if err != nil {
		return "", err
	}
	return dirs[0], nil
}

// keep has a run keep checkpoints in its directory.
func (s site) keep(t *train.Trainer, c config.Config, o *output, end *ending) error {
	var text strings.Builder
	if err := c.Write(&text); err != nil {
		return err
	}
	k := train.Keeping{Store: openStore(c), Version: version, Config: text.String(), Stop: end.reason}
	if o != nil {
		k.Sync = o.files.Sync
	}
	t.Keep(k)
	return nil
}
