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
	"lte/internal/quote"
	"lte/internal/session"
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

// entry is how a run enters its directory.
type entry struct {
	resume bool          // the directory holds the run already
	from   *train.Saved  // the checkpoint that it resumes from; nil: from the first step
	lock   *session.Lock // on rank 0
}

// agreeToResume is the error of ranks that do not find the same: whether a run is to be resumed, and which.
func agreeToResume(world *mpi.World, resume, dir string) error {
	texts, err := collective.Texts(world, resume+"\x00"+dir)
	if err != nil {
		return err
	}
	var e error
	if slices.ContainsFunc(texts, func(text string) bool { return text != texts[0] }) {
		e = &config.Error{Where: "--resume " + auto, Problem: fmt.Sprintf("the ranks do not agree on whether %s holds a run: another job has just started there, or they do not see the same file system", dir)}
	}
	return collective.Agree(world, e)
}

// enter looks for the run that is to be resumed in its directory, and locks that before anything of it is read. Without resume it
// refuses a directory that holds a run: it is made, and locked, once the data are open.
func enter(world *mpi.World, c config.Config, resume string, stderr io.Writer) (e *entry, err error) {
	e = &entry{resume: resume != ""}
	if world.Rank() == 0 {
		switch {
		case e.resume:
			err = e.acquire(world, c.Run.Dir, stderr)
		case c.Run.Dir != "":
			err = report.CheckFree(c.Run.Dir)
		}
	}
	if err := collective.Agree(world, err); err != nil {
		return nil, err
	}
	if e.resume {
		if e.from, err = findCheckpoint(world, c, resume, stderr); err != nil {
			e.leave()
			return nil, err
		}
	}
	return e, nil
}

// acquire locks the directory. Where the lock is lost the job ends.
func (e *entry) acquire(world *mpi.World, dir string, stderr io.Writer) (err error) {
	note := func(text string) { fmt.Fprintf(stderr, "lte: %s\n", quote.Text(text)) }
	abort := aborter(world, stderr, failed)
	e.lock, err = session.Acquire(dir, note, func(err error) { abort(err) })
	return err
}

// leave gives the directory back.
func (e *entry) leave() {
	if e.lock != nil {
		_ = e.lock.Release() // the next job finds out that no process holds it
		e.lock = nil
	}
}

// findCheckpoint finds the newest valid checkpoint, on all ranks the same one. What is wrong with newer ones it says. It is nil where
// auto is asked for and no checkpoint was ever completed: the run starts again. The configuration must not contradict it.
func findCheckpoint(world *mpi.World, c config.Config, how string, stderr io.Writer) (*train.Saved, error) {
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
			fmt.Fprintf(stderr, "lte: warning: %s; the one before is tried\n", quote.Text(problem))
		}
	}
	return nil, collective.Agree(world, startAgain(world, c, how, slices.ContainsFunc(steps, store.Finished), wrong, stderr))
}

// startAgain says on rank 0 that a run without a valid checkpoint starts again, or why it must not: not where that would overwrite a
// checkpoint that was completed, if only by another version of the program, or a run that came to its end.
func startAgain(world *mpi.World, c config.Config, how string, completed bool, wrong []string, stderr io.Writer) error {
	if world.Rank() != 0 {
		return nil
	}
	_, ended := report.Finished(c.Run.Dir)
	found, advice := "it has none", "--resume auto starts it again"
	if wrong != nil {
		found = strings.Join(wrong, "; ")
	}
	switch {
	case completed:
		advice = "repair one, or start in another run directory; this one stays as it is"
	case ended:
		advice = "the run is finished; start in another run directory"
	case how == auto:
		fmt.Fprintf(stderr, "lte: %s has no complete checkpoint: the run starts again\n", quote.Text(c.Run.Dir))
		return nil
	}
	return &config.Error{Where: "--resume " + c.Run.Dir, Problem: fmt.Sprintf("no valid checkpoint to resume from (%s); %s", found, advice)}
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
	if _, err = s.About(); err != nil {
		return nil, err
	}
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
	fmt.Fprintf(stderr, "lte: resumes %s after step %d\n", quote.Text(c.Run.Dir), s.Manifest.Step)
	for _, change := range changes {
		if change.Key != "run.dir" {
			fmt.Fprintf(stderr, "lte: from here on %s\n", quote.Text(change.String()))
		}
	}
	for _, text := range elastic {
		fmt.Fprintf(stderr, "lte: %s\n", quote.Text(text))
	}
	if v := s.Manifest.Version; v != version {
		fmt.Fprintf(stderr, "lte: warning: the checkpoint was written by version %s, and this is %s: the same bits are not promised\n", quote.Text(v), version)
	}
	return nil
}

func openStore(c config.Config) *checkpoint.Store {
	return checkpoint.Open(c.Run.Dir, c.Checkpoint.Keep, c.Checkpoint.Zstd)
}

// runDir makes and locks the run directory, or prepares that of a run that is resumed.
func (e *entry) runDir(world *mpi.World, c config.Config, dataset string, console *report.Console) (string, error) {
	if !e.resume {
		dir, err := report.CreateRunDir(c, dataset, time.Now())
		if err != nil {
			return "", err
		}
		return dir, e.acquire(world, dir, console)
	}
	records := 0
	if e.from != nil {
		about, err := e.from.About()
		if err != nil {
			return "", err
		}
		records = about.Records
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
		fmt.Fprintf(stderr, "lte: %s is finished, %d steps are done; a larger train.steps makes it longer\n", quote.Text(c.Run.Dir), c.Train.Steps)
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
