package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"lte/checkpoint"
	"lte/collective"
	"lte/method"
)

// Keeping is how a run keeps checkpoints.
type Keeping struct {
	Store   *checkpoint.Store
	Version string // of the program
	Config  string // the run's, as TOML
	// Sync, on rank 0, brings to the disk what the observer has written.
	Sync func() error
	// Stop is asked about once a second why this rank wants the run to end now: 0 if it does not. All ranks end where one does.
	Stop func() (reason uint64)
}

// Keep makes Run keep checkpoints, as the configuration says.
func (t *Trainer) Keep(k Keeping) {
	t.keeper = &keeper{Keeping: k, gap: 1, next: t.step + 1, asked: time.Now(), begun: time.Now(), at: none}
	if t.step > 0 {
		t.keeper.at = t.step
	}
}

// keeper sees to a rank's part of the checkpoints. State is copied between two steps and written while training goes on. That
// all ranks have written theirs, that one of them is to stop, and that it is time for a checkpoint, they tell one another at
// boundaries: between two steps, about once a second. Where a merge follows, what is to be done waits for it.
type keeper struct {
	Keeping
	gap    int       // steps between two boundaries at which all ranks talk
	next   int       // step of the next one
	asked  time.Time // of the last one
	stop   uint64    // why the run is to end here, or after the merge that follows
	due    bool      // it is time for a checkpoint, likewise
	begun  time.Time // of the last checkpoint
	at     int       // step of the last checkpoint, or from which the run went on
	saving *saving   // nil: none is being written
	memory []byte    // of snapshots
}

const none = -1

// saving is a checkpoint that is being written. All ranks have one or none.
type saving struct {
	manifest   checkpoint.Manifest // on rank 0
	best       bool
	committing bool              // on rank 0: all parts are written
	idle       chan struct{}     // closed: what was begun last has ended, and the following are there
	parts      []checkpoint.File // on rank 0 the shared one, then this rank's
	err        error
}

// Of a rank's words to the others.
const (
	saysElapsed = iota // ns since the last exchange
	saysStop           // why
	saysDue            // 1: time for a checkpoint, by this rank's clock
	saysFailing        // 1: a number was not finite
	saysState          // of the checkpoint: one of the following
	saysBytes          // of its own part
	saysSum            // XXH64 of that
	words
)

// States of a rank's checkpoint.
const (
	isNone uint64 = iota
	isBusy
	isWritten   // this rank's parts
	isCommitted // on rank 0: all is done
	isFailed
)

// InterruptedError ends a run before its last step, on all ranks after the same one.
type InterruptedError struct {
	Step   int
	Reason uint64 // the largest of all ranks' Keeping.Stop
	Path   string // of the checkpoint of that step
	Saved  bool   // it is there
}

func (e *InterruptedError) Error() string {
	if !e.Saved {
		return fmt.Sprintf("stopped after step %d without a checkpoint of it", e.Step)
	}
	return fmt.Sprintf("stopped after step %d: %s is written", e.Step, e.Path)
}

// CheckpointError is a checkpoint that could not be written. All ranks have the same one.
type CheckpointError struct {
	Step, Rank int    // the first rank that failed
	Problem    string // on that rank
}

func (e *CheckpointError) Error() string {
	return fmt.Sprintf("the checkpoint of step %d was not written, those before it stay valid: rank %d: %s", e.Step, e.Rank, e.Problem)
}

// boundary stands behind every step; merging says that a merge follows.
func (t *Trainer) boundary(merging bool) error {
	k := t.keeper
	if k == nil || t.step < k.next || t.config.Exchange.Overlap && !merging { // factors are under way
		return nil
	}
	all, err := t.exchange()
	if err != nil {
		return err
	}
	k.due, k.stop = all[0][saysDue] > 0 && k.saving == nil, 0
	failing := false
	for _, said := range all {
		k.stop, failing = max(k.stop, said[saysStop]), failing || said[saysFailing] > 0
	}
	if failing { // the merge will tell
		k.due, k.stop = false, 0
	}
	elapsed := max(1, time.Duration(all[0][saysElapsed])) // the same for all ranks
	k.gap = max(1, int(float64(k.gap)*min(2, float64(time.Second)/float64(elapsed))))
	k.next = t.step + k.gap
	if merging {
		return nil
	}
	return t.act(false)
}

// keepMerge stands behind a merge and its report, after an interval of n steps.
func (t *Trainer) keepMerge(n int) error {
	k := t.keeper
	if k == nil {
		return nil
	}
	if every := t.config.Checkpoint.Merges; every > 0 {
		merges := t.method.counts().merges
		if t.config.Spec().Merges != method.Nothing {
			k.due = k.due || merges%every == 0
		} else {
			k.due = k.due || t.step/every > (t.step-n)/every
		}
	}
	return t.act(t.better && t.config.Checkpoint.Best)
}

// keepEnd keeps the end of the run.
func (t *Trainer) keepEnd() error {
	if t.keeper == nil || t.step < t.config.Train.Steps {
		return nil
	}
	return t.saveNow(false)
}

// markBest makes the last checkpoint the best.
func (t *Trainer) markBest() error {
	k := t.keeper
	if k.at != t.step {
		return nil // it could not be written
	}
	var err error
	if t.meter.Rank() == 0 {
		err = k.Store.MarkBest(t.step)
	}
	return t.settleFailure(err)
}

// act does what was found to be due.
func (t *Trainer) act(best bool) error {
	k := t.keeper
	switch {
	case t.step == t.config.Train.Steps: // keepEnd has kept it
		if best {
			return t.markBest()
		}
	case k.stop > 0:
		if err := t.saveNow(best); err != nil {
			return err
		}
		return &InterruptedError{Step: t.step, Reason: k.stop, Path: k.Store.Path(t.step), Saved: k.at == t.step}
	case k.due || best:
		k.due = false
		if err := t.finishSaving(); err != nil { // who asks for more than the disk takes waits for it
			return err
		}
		return t.save(best)
	}
	return nil
}

// saveNow writes a checkpoint and waits for it.
func (t *Trainer) saveNow(best bool) error {
	if err := t.finishSaving(); err != nil {
		return err
	}
	if err := t.save(best); err != nil {
		return err
	}
	return t.finishSaving()
}

// save begins a checkpoint, unless the last one is of this step, or the run has failed: who changes what it failed by goes on from
// before.
func (t *Trainer) save(best bool) error {
	k := t.keeper
	if k.at == t.step || t.idle() {
		return nil
	}
	if err := t.meter.For(collective.Control).NodeBarrier(); err != nil { // all have written to the memory that they have in common
		return err
	}
	state, rank := t.state(), t.meter.Rank()
	s := &saving{best: best, idle: make(chan struct{})}
	mine := state.own
	if rank == 0 {
		run, err := json.Marshal(t.about())
		if err != nil {
			return fmt.Errorf("describing the run for a checkpoint: %w", err)
		}
		s.manifest = checkpoint.Manifest{Version: k.Version, Created: time.Now().UTC().Truncate(time.Second), Step: t.step,
			Ranks: t.meter.Size(), Run: run, Config: k.Config}
		mine = append(state.shared, state.own...)
	}
	var copies []checkpoint.Tensor
	copies, k.memory = checkpoint.Snapshot(k.memory, mine)
	own := copies[len(mine)-len(state.own):]
	k.begun, k.at, k.saving = time.Now(), t.step, s
	step := t.step
	go func() {
		defer close(s.idle)
		write := func(f checkpoint.File, err error) {
			s.parts, s.err = append(s.parts, f), errors.Join(s.err, err)
		}
		if rank == 0 {
			write(k.Store.WriteShared(step, copies[:len(state.shared)]))
		}
		if s.err == nil {
			write(k.Store.WriteRank(step, rank, own))
		}
	}()
	return nil
}

// finishSaving waits for the checkpoint that is being written.
func (t *Trainer) finishSaving() error {
	for t.keeper.saving != nil {
		<-t.keeper.saving.idle
		if _, err := t.exchange(); err != nil {
			return err
		}
	}
	return nil
}

// idle waits until no exchange is under way: then ranks can talk. It says whether the one that came last tells of a failure.
func (t *Trainer) idle() (failed bool) {
	m, ok := t.method.(aloft)
	return ok && m.wait()
}

// exchange has all ranks tell one another how they are, and takes their checkpoint one stage further when all are ready for that.
func (t *Trainer) exchange() (all [][words]uint64, err error) {
	k := t.keeper
	t.activity.begin(talking, t.step)
	t.idle()
	mine := t.says()
	flat := make([]uint64, words*t.meter.Size())
	if err := collective.Allgather(t.meter.For(collective.Control), flat, mine[:]); err != nil {
		return nil, fmt.Errorf("talking about checkpoints: %w", err)
	}
	k.asked = time.Now()
	count := map[uint64]int{}
	for rank := range t.meter.Size() {
		all = append(all, [words]uint64(flat[rank*words:]))
		count[all[rank][saysState]]++
	}
	switch s := k.saving; {
	case s == nil || count[isBusy] > 0:
	case count[isFailed] > 0:
		k.saving = nil
		return all, t.settleFailure(s.err)
	case count[isCommitted] > 0:
		k.saving = nil
	case t.meter.Rank() == 0:
		s.commit(k.Store, k.Sync, all)
	}
	return all, nil
}

// says is what this rank tells the others.
func (t *Trainer) says() (w [words]uint64) {
	k := t.keeper
	w[saysElapsed] = uint64(time.Since(k.asked))
	w[saysStop] = k.Stop()
	if m := t.config.Checkpoint.Minutes; m > 0 && time.Since(k.begun).Minutes() >= m {
		w[saysDue] = 1
	}
	if t.under.status.Failed > 0 {
		w[saysFailing] = 1
	}
	s := k.saving
	if s == nil {
		return w
	}
	select {
	case <-s.idle:
	default:
		w[saysState] = isBusy
		return w
	}
	switch {
	case s.err != nil:
		w[saysState] = isFailed
	case s.committing:
		w[saysState] = isCommitted
	default:
		own := s.parts[len(s.parts)-1]
		w[saysState], w[saysBytes], w[saysSum] = isWritten, uint64(own.Bytes), own.Sum()
	}
	return w
}

// commit makes the parts that all ranks have written a checkpoint, on rank 0.
func (s *saving) commit(store *checkpoint.Store, sync func() error, all [][words]uint64) {
	s.manifest.Parts = s.parts
	for rank, said := range all[1:] {
		s.manifest.Parts = append(s.manifest.Parts, store.RankFile(rank+1, int64(said[saysBytes]), said[saysSum]))
	}
	s.committing, s.idle = true, make(chan struct{})
	go func() {
		defer close(s.idle)
		if s.err = sync(); s.err == nil {
			s.err = store.Commit(s.manifest, s.best)
		}
	}()
}

// settleFailure gives the last checkpoint up if any rank has an error, and tells rank 0's observer or ends the run.
func (t *Trainer) settleFailure(err error) error {
	texts, err := collective.Tell(t.meter.For(collective.Control), err)
	if err != nil {
		return err
	}
	rank := slices.IndexFunc(texts, func(text string) bool { return text != "" })
	if rank < 0 {
		return nil
	}
	e := &CheckpointError{Step: t.keeper.at, Rank: rank, Problem: texts[rank]}
	t.keeper.at = none
	if t.config.Checkpoint.OnError == "stop" {
		return e
	}
	if t.observer != nil {
		t.observer.Warn(e.Error())
	}
	return nil
}
