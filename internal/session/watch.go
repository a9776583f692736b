package session

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"lte/config"
	"lte/internal/file"
	"lte/report"
	"lte/train"
)

// watchdog ends the job when this rank has made no progress for the timeout, as where another rank hangs, or has died and the launcher did
// not notice. Every rank writes heartbeats to a file of the run directory, so that any of them can name the ranks at fault.
type watchdog struct {
	rank, size int
	host       string
	timeout    time.Duration
	activity   *train.Activity
	table      *os.File // a line per rank; nil where it cannot be written: then no rank is named
	abort      func(cause any)
}

// beats is the number of heartbeats within the timeout.
const beats = 12

// tableFile is in the run directory during the run.
const tableFile = "ranks.live"

// heartbeat is a rank's line of the table, in little endian.
type heartbeat struct {
	Beat  uint64 // counts up
	Code  uint64 // of the rank's activity
	Still uint64 // beats since the activity changed
	Host  [104]byte
}

// lineLen is the bytes of a heartbeat in the table.
const lineLen = 128

func (h heartbeat) host() string { return strings.TrimRight(string(h.Host[:]), "\x00") }

// watchdog makes that of a run in c's directory, which all ranks can see.
func (s *Session) watchdog(t *train.Trainer, c config.Config, console *report.Console) *watchdog {
	w := &watchdog{rank: s.world.Rank(), size: s.world.Size(), host: s.world.Host(), activity: t.Activity(),
		timeout: time.Duration(c.Run.Watchdog * float64(time.Second)), abort: aborter(s.world, console, ExitFailed)}
	if f, err := file.OpenOwn(filepath.Join(c.Run.Dir, tableFile), os.O_RDWR|os.O_CREATE); err == nil {
		w.table = f
	}
	return w
}

// start watches until stop is called.
func (w *watchdog) start() (stop func()) {
	end := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() { w.watch(end) })
	return func() {
		close(end)
		watching.Wait()
		if w.table != nil {
			w.table.Close()
			if w.rank == 0 {
				os.Remove(w.table.Name())
			}
		}
	}
}

// watch counts beats, not seconds: a job that is suspended as a whole does not time out.
func (w *watchdog) watch(end <-chan struct{}) {
	tick := time.NewTicker(w.timeout / beats)
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
		if w.table != nil { // a full disk is no reason to end the run here
			h := heartbeat{Beat: beat, Code: w.activity.Code(), Still: still}
			copy(h.Host[:], w.host)
			line, _ := binary.Append(nil, binary.LittleEndian, h)
			_, _ = w.table.WriteAt(line, int64(w.rank)*lineLen)
		}
		if still > beats {
			w.abort(w.diagnosis())
		}
	}
}

// read returns the last heartbeat of each rank, zero where it has written none.
func (w *watchdog) read() []heartbeat {
	all, table := make([]heartbeat, w.size), make([]byte, w.size*lineLen)
	_, _ = w.table.ReadAt(table, 0)
	_, _ = binary.Decode(table, binary.LittleEndian, all)
	return all
}

// diagnosis names the ranks for which the others wait: those without a heartbeat, or else those that are furthest behind.
func (w *watchdog) diagnosis() string {
	text := fmt.Sprintf("no progress for %v (run.watchdog) while %s", w.timeout, train.Describe(w.activity.Code()))
	if w.table == nil {
		return text
	}
	before := w.read()
	time.Sleep(2*w.timeout/beats + time.Second) // every rank that runs has written again by then
	after := w.read()
	var silent, behind []string
	least := ^uint64(0)
	for rank, h := range after {
		if h.Beat == before[rank].Beat && h.Still <= beats && rank != w.rank { // a rank that has timed out too is about to end the job
			silent = append(silent, fmt.Sprintf("rank %d on %s has stopped: no heartbeat; it was last %s", rank, h.host(), train.Describe(h.Code)))
		}
		least = min(least, h.Code)
	}
	if silent != nil {
		return text + "; " + strings.Join(silent, "; ")
	}
	for rank, h := range after {
		if h.Code == least {
			behind = append(behind, fmt.Sprintf("rank %d on %s is still %s", rank, h.host(), train.Describe(h.Code)))
		}
	}
	return text + "; " + strings.Join(behind[:min(len(behind), 8)], "; ")
}
