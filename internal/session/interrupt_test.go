package session

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// The first signal is a request, what receiveds with it is the same one, a later one ends the job; and so does the end of the grace time.
//
// Fails if a signal forwarded twice ends the job, if a second request does not, if the grace never ends, or if a time limit takes the
// place of a signal.
func TestFirstSignalRequestsTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		r := &stopRequest{grace: time.Minute, deadline: time.Now().Add(time.Second), abort: func(cause any) { said = append(said, fmt.Sprint(cause)) }}
		r.training.Store(true)
		received := make(chan os.Signal)
		go r.listen(received)
		if got := r.reason(); got != 0 {
			t.Errorf("asked for nothing, and the run ends by %s", reasonText(got))
		}
		received <- syscall.SIGTERM
		received <- syscall.SIGUSR1
		synctest.Wait()
		if got := reasonText(r.reason()); got != "SIGTERM" || said != nil {
			t.Errorf("ends by %s, %q", got, said)
		}
		time.Sleep(sameRequest + 1)
		received <- syscall.SIGUSR1
		synctest.Wait()
		if len(said) != 1 || !strings.Contains(said[0], "the second signal") {
			t.Errorf("after a second signal %q", said)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(said) != 2 || !strings.HasPrefix(said[1], "SIGTERM: no checkpoint within checkpoint.grace = 1m0s") {
			t.Errorf("after the grace time %q", said)
		}
		if got := reasonText(r.reason()); got != "SIGTERM" {
			t.Errorf("ends by %s", got)
		}
		close(received)

		late := &stopRequest{deadline: time.Now().Add(time.Second), grace: time.Minute, abort: func(any) {}}
		time.Sleep(2 * time.Second)
		if got := reasonText(late.reason()); got != "the time limit is near" {
			t.Errorf("ends by %s", got)
		}
	})
}

// Fails unless the earlier of the run's own limit and the end of the SLURM job counts.
func TestDeadline(t *testing.T) {
	started := time.Now()
	for _, c := range []struct {
		minutes float64
		slurm   string
		want    time.Time
	}{
		{0, "", time.Time{}},
		{0, "soon", time.Time{}},
		{0, "0", time.Time{}},
		{1.5, "", started.Add(90 * time.Second)},
		{0, "4000000000", time.Unix(4000000000, 0)},
		{60, "4000000000", started.Add(time.Hour)},
		{60, "1000000000", time.Unix(1000000000, 0)},
	} {
		if got := deadline(started, c.minutes, c.slurm); !got.Equal(c.want) {
			t.Errorf("%v minutes, SLURM_JOB_END_TIME=%q: %v, want %v", c.minutes, c.slurm, got, c.want)
		}
	}
}
