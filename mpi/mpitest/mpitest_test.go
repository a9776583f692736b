package mpitest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fake installs a shell script as the launcher.
func fake(t *testing.T, script string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mpirun")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv(launcher, path+" --quiet")
}

func TestLaunchPassesArgumentsAndExitCode(t *testing.T) {
	fake(t, `echo "$@ $KEY"; exit 3`)
	out, err := Launch(t, 2, []string{"KEY=value"}, "prog", "arg")
	if want := "--quiet -np 2 prog arg value\n"; out != want {
		t.Errorf("output %q, want %q", out, want)
	}
	if err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v, want exit status 3", err)
	}
}

// A job that hangs is killed, and so are the processes that it left behind with the output open.
func TestHangingJobIsKilled(t *testing.T) {
	defer func(d time.Duration) { Timeout = d }(Timeout)
	Timeout = 200 * time.Millisecond
	fake(t, `echo begun; sleep 1000 & sleep 1000`)
	begin := time.Now()
	out, err := Launch(t, 2, nil, "prog")
	if err == nil || !strings.Contains(err.Error(), "killed after 200ms") || !strings.Contains(out, "begun") {
		t.Errorf("got %q, %v", out, err)
	}
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}

// Every rank must report that it is done, whatever the launcher's exit code.
func TestEveryRankMustReportSuccess(t *testing.T) {
	for _, c := range []struct {
		name string
		out  string
		ok   bool
	}{
		{"both", done(0, 2) + done(1, 2), true},
		{"none", "", false},
		{"one missing", done(0, 2), false},
		{"one twice", done(0, 2) + done(0, 2), false},
		{"of another size", done(0, 3) + done(1, 3), false},
	} {
		if err := allDone(c.out, 2); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
