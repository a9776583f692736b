package session

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"lte/train"
)

// Of three ranks the first has waited too long: a rank that tells nothing any more is named, or else those that are furthest behind.
//
// Fails if who has only given up before is named as silent, or who tells what it does, or the rank that is furthest on.
func TestWatchdogNamesTheRanksAtFault(t *testing.T) {
	const training4, merging5 = 4<<8 | 2, 5<<8 | 3 // codes of activities
	for _, c := range []struct {
		name  string
		lives bool
		still uint64
		want  string
	}{
		{"stopped", false, 3, "; rank 1 on b has stopped: no heartbeat; it was last training after step 4"},
		{"waits", true, 3, "; rank 1 on b is still training after step 4"},
		{"gave up", false, beats + 1, "; rank 1 on b is still training after step 4"},
	} {
		synctest.Test(t, func(t *testing.T) {
			table, err := os.Create(filepath.Join(t.TempDir(), tableFile))
			if err != nil {
				t.Fatal(err)
			}
			defer table.Close()
			w := &watchdog{rank: 0, size: 3, host: "a", timeout: 12 * time.Second, activity: &train.Activity{}, table: table}
			tell := func(rank, beat, code, still uint64) {
				line, err := binary.Append(nil, binary.LittleEndian, heartbeat{beat, code, still, [104]byte{"abc"[rank]}})
				if err != nil || len(line) != lineLen {
					t.Errorf("a line of %d bytes, %v", len(line), err)
				}
				if _, err := table.WriteAt(line, int64(rank)*lineLen); err != nil {
					t.Error(err)
				}
			}
			tell(0, 20, merging5, beats+1)
			tell(1, 20, training4, c.still)
			tell(2, 20, merging5, 3)
			go func() {
				time.Sleep(w.timeout / beats)
				tell(2, 21, merging5, 4)
				if c.lives {
					tell(1, 21, training4, c.still+1)
				}
			}()
			if got := w.diagnosis(); !strings.HasSuffix(got, c.want) || strings.Count(got, "rank ") != 1 {
				t.Errorf("%s: %q, want %q at its end", c.name, got, c.want)
			}
		})
	}
}
