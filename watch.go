package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lte/config"
	"lte/internal/file"
	"lte/train"
)

// watchdog ends the job when this rank has made no progress for a while, as where another one has died without the launcher's
// noticing, or has stopped. All ranks tell in a file of the run directory what they are doing, so that any of them can say who it was.
type watchdog struct {
	rank, size int
	host       string
	patience   time.Duration
	activity   *train.Activity
	table      *os.File // a line of ranks each; nil where it cannot be written: then nobody is named
	abort      func(cause any)
}

// beats is how often a rank looks, and tells, within its patience.
const beats = 12

// tableFile lies in the run directory during the run.
const tableFile = "ranks.live"

// lineLen is the bytes of a rank in the table: count of beats, code of its activity, beats since that moved, then its host.
const lineLen = 128

// start watches until stop is called.
func (w *watchdog) start() (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		w.watch(end)
	}()
	return func() {
		close(end)
		<-ended
		if w.table != nil {
			w.table.Close()
			if w.rank == 0 {
				os.Remove(w.table.Name())
			}
		}
	}
}

// watch counts beats, not seconds: where the whole job is suspended and goes on, none has passed.
func (w *watchdog) watch(end <-chan struct{}) {
	tick := time.NewTicker(w.patience / beats)
	defer tick.Stop()
	moves, still := w.activity.Moves(), uint64(0)
	for beat := uint64(1); ; beat++ {
		select {
		case <-end:
			return
		case <-tick.C:
		}
		if m := w.activity.Moves(); m != moves {
			moves, still = m, 0
		} else {
			still++
		}
		w.tell(beat, still)
		if still > beats {
			w.abort(w.verdict())
		}
	}
}

func (w *watchdog) tell(beat, still uint64) {
	if w.table == nil {
		return
	}
	line := make([]byte, lineLen)
	for i, v := range []uint64{beat, w.activity.Code(), still} {
		binary.LittleEndian.PutUint64(line[8*i:], v)
	}
	copy(line[24:], w.host)
	_, _ = w.table.WriteAt(line, int64(w.rank)*lineLen) // a full disk is no reason to end the run here
}

// told is what a rank has told last.
type told struct {
	beat, code, still uint64
	host              string
}

func (w *watchdog) read() []told {
	all := make([]told, w.size)
	buffer := make([]byte, w.size*lineLen)
	if w.table == nil {
		return all
	}
	_, _ = w.table.ReadAt(buffer, 0) // what is missing was never told
	for k := range all {
		line := buffer[k*lineLen : (k+1)*lineLen]
		at := func(i int) uint64 { return binary.LittleEndian.Uint64(line[8*i:]) }
		all[k] = told{at(0), at(1), at(2), strings.TrimRight(string(line[24:]), "\x00")}
	}
	return all
}

// verdict names the ranks that keep the others waiting: those that tell nothing any more, or else those that are furthest behind.
func (w *watchdog) verdict() string {
	before := w.read()
	time.Sleep(2*w.patience/beats + time.Second) // whoever lives has told again by then
	after := w.read()
	text := fmt.Sprintf("no progress for %v (run.watchdog), here %s", w.patience, train.Describe(w.activity.Code()))
	var silent, behind []string
	least := ^uint64(0)
	for k, a := range after {
		if a.beat == before[k].beat && a.still <= beats && k != w.rank { // who has waited too long too is about to end the job
			silent = append(silent, fmt.Sprintf("rank %d on %s gives no sign of life; it was last %s", k, a.host, train.Describe(a.code)))
		}
		least = min(least, a.code)
	}
	if w.table == nil {
		return text
	}
	if silent != nil {
		return text + "; " + strings.Join(silent, "; ")
	}
	for k, a := range after {
		if a.code == least {
			behind = append(behind, fmt.Sprintf("rank %d on %s is still %s", k, a.host, train.Describe(a.code)))
		}
	}
	return text + "; " + strings.Join(behind[:min(len(behind), 8)], "; ")
}

// watchdog makes that of a run in c's directory, which all ranks can see.
func (s site) watchdog(t *train.Trainer, c config.Config, stderr io.Writer) *watchdog {
	w := &watchdog{rank: s.world.Rank(), size: s.world.Size(), host: s.world.Host(), activity: t.Activity(),
		patience: time.Duration(c.Run.Watchdog * float64(time.Second)), abort: aborter(s.world, stderr, failed)}
	if f, err := file.OpenOwn(filepath.Join(c.Run.Dir, tableFile), os.O_RDWR|os.O_CREATE); err == nil {
		w.table = f
	}
	return w
}
