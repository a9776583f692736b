package mpitest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Hosts are network namespaces connected by tools/hosts.sh: MPI sees them as machines.
type Hosts struct{ script string }

// Link is the traffic of a host's link since the hosts were started, in frames as its interface counts them, headers included.
type Link struct{ SentBytes, SentPackets, ReceivedBytes, ReceivedPackets int64 }

// impossible is the script's exit status where the machine does not permit hosts.
const impossible = 77

// OnHosts makes Run and Launch start their ranks on n hosts until the test ends, in blocks, the first ranks on host 0. It is called first
// in a Test function; on the ranks it returns nil. The test is skipped where network namespaces are not permitted.
func OnHosts(t *testing.T, n int) *Hosts {
	t.Helper()
	if world != nil {
		return nil
	}
	h := &Hosts{script: script(t)}
	t.Setenv("LTE_HOSTS", fmt.Sprintf("ltetest%d-", os.Getpid()))
	_, err := h.run("up", fmt.Sprint(n))
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == impossible {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := h.run("down"); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("MPIRUN", os.Getenv(launcher))
	t.Setenv(launcher, h.script+" mpirun")
	return h
}

// script returns the path of tools/hosts.sh, found from the folder of the test's package.
func script(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for up := dir; ; up = filepath.Dir(up) {
		if _, err := os.Stat(filepath.Join(up, "go.mod")); err == nil {
			return filepath.Join(up, "tools", "hosts.sh")
		} else if up == filepath.Dir(up) {
			t.Fatalf("no go.mod above %s", dir)
		}
	}
}

// run calls the script. Its error contains the script's output.
func (h *Hosts) run(args ...string) (string, error) {
	out, err := exec.Command(h.script, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("tools/hosts.sh %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Link reads the counters of a host's link.
func (h *Hosts) Link(t *testing.T, host int) (l Link) {
	t.Helper()
	out, err := h.run("link", fmt.Sprint(host))
	if err == nil {
		_, err = fmt.Sscan(out, &l.SentBytes, &l.SentPackets, &l.ReceivedBytes, &l.ReceivedPackets)
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}
